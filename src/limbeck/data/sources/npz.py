"""A .npz file of numpy, with the array names that Keras uses."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from limbeck.data.examples import key_examples
from limbeck.data.preprocess import Preprocess
from limbeck.data.sources.base import Splits, check_share, existing, own_splits
from limbeck.data.sources.conversion import as_inputs, as_named_labels
from limbeck.errors import DataError
from limbeck.numpy_files import read_npz

_LAYOUT = "a .npz file with the arrays x_train, y_train, x_test, y_test, or x and y alone; `classes` may name them"


@dataclass(frozen=True, kw_only=True)
class Npz:
    """One .npz file. Labels are whole numbers, or names; a text array `classes` gives names to numbers.

    Args:
        path: the file.
        layout: of images with four dimensions; `auto` looks for 1, 3 or 4 channels.
        test_share: the share held out for the test when the file has only x and y.

    Raises:
        ValueError: test_share outside (0, 1).
    """

    source: Literal["npz"] = "npz"
    path: str
    layout: Literal["auto", "nchw", "nhwc"] = "auto"
    test_share: float = 0.2

    def __post_init__(self) -> None:
        check_share(self.test_share)

    def load(self) -> Splits:
        """Inputs [N, D], or [N, C, H, W]; uint8 as it is, other numbers as float32."""
        path = existing(self.path, folder=False, expected=_LAYOUT)
        arrays = read_npz(path, _LAYOUT)
        official = "x_train" in arrays
        sides = ("_train", "_test") if official else ("",)
        missing = [name for side in sides for name in (f"x{side}", f"y{side}") if name not in arrays]
        if missing:
            raise DataError(
                f"{path} lacks {', '.join(missing)}; it has {', '.join(arrays) or 'nothing'}",
                expected=_LAYOUT,
                do="save it by numpy.savez with these names",
            )
        inputs = [self._inputs(arrays[f"x{side}"], f"x{side} of {path}") for side in sides]
        classes = tuple(str(name) for name in arrays["classes"].reshape(-1)) if "classes" in arrays else None
        labels, classes = as_named_labels(
            [arrays[f"y{side}"] for side in sides], [f"y{side} of {path}" for side in sides], classes
        )
        keyed = [key_examples(x, y, classes) for x, y in zip(inputs, labels, strict=True)]
        preprocess = Preprocess(scale=255.0 if inputs[0].dtype == torch.uint8 else 1.0)
        if official:
            return Splits(keyed[0], keyed[1], preprocess, official=True)
        return own_splits(keyed[0], preprocess, self.test_share)

    def _inputs(self, array: NDArray[Any], name: str) -> Tensor:
        return as_inputs(array, name, None if self.layout == "auto" else self.layout)
