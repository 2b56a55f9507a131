"""Arrays as people have them, made into inputs and labels as limbeck stores them.

Dimension key: N examples, C channels, H rows, W columns.
"""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limbeck.errors import DataError, name_some
from limbeck.signal import UNLABELLED

Layout = Literal["nchw", "nhwc"]

_CHANNELS = (1, 3, 4)


def as_inputs(array: NDArray[Any], name: str, layout: Layout | None) -> Tensor:
    """Numbers as stored inputs: uint8 stays, all else becomes float32; images become [N, C, H, W].

    Args:
        array: [N, D] rows, [N, H, W] grey images, or images in the layout; of more dimensions, any.
        name: what a message calls the array.
        layout: of images with four dimensions; None looks for the channels.

    Raises:
        DataError: values that are not real numbers, or images whose layout cannot be told.
    """
    if array.dtype.kind not in "buif":
        raise DataError(
            f"{name} has the type {array.dtype}",
            expected="numbers: uint8, float32, or what can become float32",
            do="encode texts and objects as numbers first",
        )
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4:
        layout = layout or guess_layout(array.shape)
        if layout is None:
            raise _unclear_layout(array, name)
        array = array.transpose(0, 3, 1, 2) if layout == "nhwc" else array
    # A copy of our own, in the machine's byte order: torch takes neither another order nor read-only memory.
    own = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    inputs = torch.from_numpy(own)
    return inputs if inputs.dtype == torch.uint8 else inputs.float()


def guess_layout(shape: tuple[int, ...]) -> Layout | None:
    """Where the channels are in images of four dimensions, if only one place can hold them."""
    first, last = shape[1] in _CHANNELS, shape[3] in _CHANNELS
    if first == last:
        return None
    return "nchw" if first else "nhwc"


def _unclear_layout(array: NDArray[Any], name: str) -> DataError:
    return DataError(
        f"{name} has the shape {array.shape}: the channels may be dimension 1 or dimension 3",
        expected=f"exactly one of the two to be {' or '.join(map(str, _CHANNELS))}",
        do="say which: `layout: nchw` or `layout: nhwc` in a recipe; in Python a torch tensor [N, C, H, W]",
    )


def as_labels(array: NDArray[Any], name: str) -> Tensor:
    """Whole numbers [N] or [N, 1] as labels [N] int64.

    Raises:
        DataError: another shape, or values that are not whole numbers.
    """
    _check_labels_shape(array, name)
    if array.dtype.kind not in "bui":
        raise DataError(
            f"{name} has the type {array.dtype}",
            expected="whole numbers (or names, as text): the class of each example",
            do="convert them with `.astype(int)` if they are classes; limbeck does not learn other targets",
        )
    return torch.from_numpy(array.reshape(-1).astype(np.int64))


def as_named_labels(
    arrays: list[NDArray[Any]], names: list[str], classes: tuple[str, ...] | None
) -> tuple[list[Tensor], tuple[str, ...]]:
    """Labels [N] int64 and class names from arrays of numbers, or of names: then classes are sorted by name.

    Args:
        arrays: labels of the training set, and of the test set if there is one.
        names: what a message calls each array.
        classes: the names in the order of the labels, if they are known.

    Raises:
        DataError: labels that are neither whole numbers nor names, or names that `classes` lacks.
    """
    if any(array.dtype.kind in "US" for array in arrays):
        return _from_names(arrays, names, classes)
    labels = [as_labels(array, name) for array, name in zip(arrays, names, strict=True)]
    return labels, classes or numbered_classes(*labels)


def numbered_classes(*labels: Tensor) -> tuple[str, ...]:
    """The names "0" to the highest label, for classes that have no other.

    Raises:
        DataError: no label is known, or labels so high that they cannot be classes.
    """
    together = torch.cat(labels)
    highest = int(together.max()) if len(together) else UNLABELLED
    if highest < 0 or highest >= len(together):
        raise DataError(
            f"the highest label is {highest} in {len(together)} examples",
            expected="classes numbered from 0, or their names if no label is known",
            do="number the classes from 0, or give `classes`; limbeck learns no targets but classes",
        )
    return tuple(str(label) for label in range(highest + 1))


def _check_labels_shape(array: NDArray[Any], name: str) -> None:
    if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
        return
    raise DataError(
        f"{name} has the shape {array.shape}",
        expected="one label an example, [N] or [N, 1]",
        do="turn one-hot rows into class numbers with `.argmax(axis=1)`",
    )


def _from_names(
    arrays: list[NDArray[Any]], names: list[str], classes: tuple[str, ...] | None
) -> tuple[list[Tensor], tuple[str, ...]]:
    """`as_named_labels` where at least one array holds names; another may hold `UNLABELLED` only."""
    texts: list[NDArray[np.str_] | None] = []
    for array, name in zip(arrays, names, strict=True):
        _check_labels_shape(array, name)
        text = array.reshape(-1).astype(np.str_) if array.dtype.kind in "US" else None
        if text is None and (array != UNLABELLED).any():
            raise DataError(
                f"{name} are numbers, the others are names",
                expected="the same kind of label in the training and the test set",
                do="give names in both, or numbers in both",
            )
        texts.append(text)
    classes = classes or tuple(np.unique(np.concatenate([text for text in texts if text is not None])).tolist())
    labels = [
        torch.full((len(array),), UNLABELLED) if text is None else _places(text, name, classes)
        for array, text, name in zip(arrays, texts, names, strict=True)
    ]
    return labels, classes


def _places(text: NDArray[np.str_], name: str, classes: tuple[str, ...]) -> Tensor:
    """The place of each name [N] among the classes, int64."""
    found, which = np.unique(text, return_inverse=True)
    unknown = sorted(set(found.tolist()) - set(classes))
    if unknown:
        raise DataError(
            f"{name} has {len(unknown)} labels without a class: {name_some(unknown)}",
            expected=f"one of {', '.join(classes)}",
            do="add them to the classes, or mend the labels",
        )
    places = np.array([classes.index(label) for label in found.tolist()], dtype=np.int64)
    return torch.from_numpy(places[which])
