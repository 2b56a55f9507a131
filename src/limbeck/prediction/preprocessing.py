"""What is done to stored inputs before a network sees them, without torch: as `limbeck.data` does it, to rounding.

Dimension key: N examples, K columns, C channels or features, H rows, W columns of pixels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.bundle import MOST_VALUES

_LARGEST, _SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).smallest_subnormal)


def preprocessing(tree: Mapping[str, Any]) -> "_Preprocess | _Encode":
    """That of a description: the fields of `limbeck.data.Preprocess`, or of `Encode`, which have a `kind`.

    Raises:
        KeyError, TypeError, ValueError: other fields, or values that they cannot have.
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

    def __post_init__(self) -> None:
        _check_numbers("scale and std", (self.scale, *(self.std or ())), least=_SMALLEST)
        _check_numbers("mean", self.mean or ())
        counts = (*(self.size or (1, 1)), 1 if self.channels is None else self.channels)
        if len(counts) != 3 or not all(type(count) is int and count > 0 for count in counts):
            raise ValueError("size and channels are whole numbers above 0")

    def output_shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an example after preprocessing.

        Raises:
            ValueError: a size or channels for what is no such image, or other constants than one a channel.
        """
        shape = stored
        if self.size is not None or self.channels is not None:
            if len(stored) != 3 or (self.channels is not None and stored[0] not in (1, self.channels)):
                raise ValueError(f"a size or channels for the shape {stored}")
            shape = (self.channels or stored[0], *(self.size or stored[1:]))
        if any(before * after > MOST_VALUES for before, after in zip(stored[1:], self.size or (), strict=False)):
            raise ValueError(f"a size of {self.size} for the shape {stored}")
        if any(len(constants) != shape[0] for constants in (self.mean, self.std) if constants is not None):
            raise ValueError(f"a mean or std of another length than {shape[0]}")
        return shape

    @np.errstate(all="ignore")
    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        values = inputs.astype(np.float32)
        values = values if self.scale == 1 else values / np.float32(self.scale)
        if self.size is not None and values.shape[2:] != tuple(self.size):
            values = _resized(values, self.size)
        if self.channels is not None and values.shape[1] != self.channels:
            values = values.repeat(self.channels, axis=1)
        values = values if self.mean is None else values - _per_channel(self.mean, values)
        return values if self.std is None else values / _per_channel(self.std, values)


def _check_numbers(name: str, values: Iterable[Any], least: float = -_LARGEST) -> None:
    """Refuse what is no number of float32."""
    for value in values:
        if type(value) not in (int, float) or not least <= value <= _LARGEST:
            raise ValueError(f"{name} {value!r:.60}")


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

    def __post_init__(self) -> None:
        _check_numbers("the mean of a column", [self.mean])
        _check_numbers("the std of a column", [self.std], least=_SMALLEST)
        words = [self.name, *(self.vocabulary or ())]
        if not all(isinstance(word, str) for word in words) or type(self.indicated) is not bool:
            raise TypeError("a column of other types")

    @property
    def width(self) -> int:
        """How many numbers it becomes."""
        return 1 + self.indicated if self.vocabulary is None else len(self.vocabulary) + self.indicated


@dataclass(frozen=True)
class _Encode:
    """See `limbeck.data.Encode`: numbers, then where they are missing, then categories."""

    columns: tuple[_Column, ...]

    def output_shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a row after preprocessing.

        Raises:
            ValueError: another number of columns.
        """
        if stored != (len(self.columns),):
            raise ValueError(f"{len(self.columns)} columns for the shape {stored}")
        return (sum(column.width for column in self.columns),)

    @np.errstate(all="ignore")
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
    encoded = np.zeros((len(known), size), np.float32)
    encoded[np.arange(len(known)), known] = 1
    return encoded
