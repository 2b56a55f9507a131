"""A folder of .npy files that stay on the disk: data larger than the memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limbeck.data.examples import key_examples
from limbeck.data.preprocess import Preprocess
from limbeck.data.sources.base import Splits, existing
from limbeck.data.sources.conversion import as_named_labels, guess_layout
from limbeck.errors import DataError
from limbeck.numpy_files import mapped_npy

_LAYOUT = "a folder with x_train.npy, y_train.npy, x_test.npy and y_test.npy"


@dataclass(frozen=True, kw_only=True)
class Npy:
    """A folder of four .npy files. Inputs are read from the disk as they are needed, and never written.

    A choice among the examples (data.validation, a drop of the overlap or of what has no label) is a copy in memory.

    Args:
        path: the folder.
    """

    source: Literal["npy"] = "npy"
    path: str

    def load(self) -> Splits:
        """Inputs [N, D], [N, 1, H, W] or [N, C, H, W], uint8 or float32, mapped from the files."""
        folder = existing(self.path, folder=True, expected=_LAYOUT)
        inputs = [_inputs(folder / f"x_{side}.npy") for side in ("train", "test")]
        paths = [folder / f"y_{side}.npy" for side in ("train", "test")]
        labels, classes = as_named_labels([_mapped(path) for path in paths], [str(path) for path in paths], None)
        keyed = [key_examples(x, y, classes) for x, y in zip(inputs, labels, strict=True)]
        preprocess = Preprocess(scale=255.0 if inputs[0].dtype == torch.uint8 else 1.0)
        return Splits(keyed[0], keyed[1], preprocess, official=True)


def _inputs(path: Path) -> Tensor:
    array = _mapped(path)
    if array.dtype not in (np.dtype("uint8"), np.dtype("float32")) or not array.flags.c_contiguous or array.ndim < 2:
        order = "" if array.flags.c_contiguous else ", in Fortran's order"
        raise DataError(
            f"{path} has the type {array.dtype}, the shape {array.shape}{order}",
            expected="[N, ...] of uint8 or float32, of this machine's byte order, in C's order: as they are used",
            do="convert it in parts, by numpy.lib.format.open_memmap",
        )
    if array.ndim == 4 and guess_layout(array.shape) == "nhwc":
        raise DataError(
            f"{path} has the shape {array.shape}, its channels at the end",
            expected="images [N, channels, height, width]",
            do="write them in this order; data that fit the memory can come as npz",
        )
    # Mapped privately: a write would change this process's copy of a page, and torch gets memory that may be written.
    return torch.from_numpy(array[:, None] if array.ndim == 3 else array)


def _mapped(path: Path) -> NDArray[Any]:
    existing(str(path), folder=False, expected=_LAYOUT)
    return mapped_npy(path, "one array of numpy")
