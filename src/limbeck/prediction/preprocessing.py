"""What is done to stored inputs before a network sees them, without torch: as `limbeck.data` does it, to rounding.

Dimension key: N examples, K columns, C channels or features, H rows, W columns of pixels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Preprocessing = Callable[[NDArray[Any]], NDArray[np.float32]]
"""From stored inputs [N, ...] to what the network takes."""


def preprocessing(tree: Mapping[str, Any]) -> Preprocessing:
    """That of a description: the fields of `limbeck.data.Preprocess`, or of `Encode`, which have a `kind`.

    Raises:
        KeyError, TypeError: other fields.
    """
    if tree.get("kind") == "encode":
        return _Encode(tuple(_Column(**column) for column in tree["columns"]))
    return _Preprocess(**tree)


# --- numbers and images -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Preprocess:
    """See `limbeck.data.Preprocess`."""

    scale: float
    size: tuple[int, int] | None
    channels: int | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        values = inputs.astype(np.float32)
        values = values if self.scale == 1 else values / np.float32(self.scale)
        if self.size is not None and values.shape[2:] != tuple(self.size):
            values = _resized(values, self.size)
        if self.channels is not None and values.shape[1] != self.channels:
            values = values.repeat(self.channels, axis=1)
        values = values if self.mean is None else values - _per_channel(self.mean, values)
        return values if self.std is None else values / _per_channel(self.std, values)


def _per_channel(constants: tuple[float, ...], values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.array(constants, np.float32).reshape(1, -1, *[1] * (values.ndim - 2))


def _resized(images: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Images [N, C, H, W], bilinear and antialiased: a matrix for each axis."""
    rows, columns = (_weights(*pair) for pair in zip(images.shape[2:], size, strict=True))
    return np.ascontiguousarray(rows @ images @ columns.T)


def _weights(before: int, after: int) -> NDArray[np.float32]:
    """[after, before]: a triangle over the pixels that each new one stands for, at least two wide."""
    ratio = before / after
    width = max(ratio, 1.0)
    centres = ratio * (np.arange(after) + 0.5)
    distances = np.abs(np.arange(before) + 0.5 - centres[:, None]) / width
    weights = np.maximum(1 - distances, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


# --- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """See `limbeck.data.Column`."""

    name: str
    vocabulary: list[str] | None
    mean: float
    std: float
    indicated: bool


@dataclass(frozen=True)
class _Encode:
    """See `limbeck.data.Encode`: numbers, then where they are missing, then categories."""

    columns: tuple[_Column, ...]

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        numbers, missing, categories = [], [], []
        for column, stored_N in zip(self.columns, inputs.astype(np.float32).T, strict=True):
            if column.vocabulary is None:
                absent = np.isnan(stored_N)
                scaled = (stored_N - np.float32(column.mean)) / np.float32(column.std)
                numbers.append(np.where(absent, np.float32(0), scaled)[:, None])
                missing += [absent[:, None].astype(np.float32)] * column.indicated
            else:
                categories.append(_one_hot(stored_N, 1 + len(column.vocabulary))[:, not column.indicated :])
        return np.concatenate([*numbers, *missing, *categories], axis=1)


def _one_hot(stored_N: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Codes from 0 as [N, size]; what is none counts as 0, missing or unknown."""
    codes = np.trunc(np.nan_to_num(stored_N))
    known = np.where((codes >= 0) & (codes < size), codes, 0).astype(np.int64)
    return np.eye(size, dtype=np.float32)[known]
