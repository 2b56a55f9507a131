"""Data that a Python program has in its hands already: arrays, tensors, or a Dataset of torch."""

from collections.abc import Sized
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from limbeck.data.examples import key_examples
from limbeck.data.preprocess import Preprocess
from limbeck.data.sources.base import Splits, check_share, own_splits
from limbeck.data.sources.conversion import as_inputs, as_named_labels, guess_layout
from limbeck.data.text import stored_texts, text_keys
from limbeck.errors import DataError
from limbeck.signal import UNLABELLED

Arrays = tuple[Any, Any] | Dataset[Any]
"""(inputs, labels), each an array or tensor, labels None if not one is known; or a Dataset of such pairs."""

_PROBES = 8  # items of a Dataset that are read twice


def from_arrays(
    train: Arrays,
    test: Arrays | None = None,
    *,
    classes: tuple[str, ...] | None = None,
    test_share: float = 0.2,
) -> Splits:
    """Splits from data in memory, by the rules of the recipe's sources.

    numpy images may be [N, H, W], [N, H, W, C] or [N, C, H, W] where the channels (1, 3 or 4) can be told; a
    tensor is [N, C, H, W] unless its last dimension alone can be the channels. uint8 images declare `scale:
    255`, all else `scale: 1`, since a row of small whole numbers may as well be counts or codes. Texts are stored as
    by `text_bytes`.

    Args:
        train: (inputs, labels), or a map-style Dataset of (x, y). Labels are whole numbers or names,
            `UNLABELLED` where one is not known, None where none is.
        test: likewise; None holds a share of train out.
        classes: the name of each label; None numbers them, or sorts the names.
        test_share: the share that is held out when there is no test.

    Raises:
        DataError: data that cannot be used, or a Dataset that answers the same question in two ways.
        ValueError: test_share outside (0, 1).
    """
    check_share(test_share)
    sides = {"train": train} if test is None else {"train": train, "test": test}
    pairs = {name: _pair(side, name) for name, side in sides.items()}
    texts = [_texts(values) for values, _ in pairs.values()]
    inputs, keys, facts = _stored({name: values for name, (values, _) in pairs.items()}, texts)
    labels, classes = as_named_labels(
        [_labels(given, len(x)) for (_, given), x in zip(pairs.values(), inputs, strict=True)],
        [f"the labels of {name}" for name in pairs],
        classes,
    )
    keyed = [key_examples(x, y, classes, key) for x, y, key in zip(inputs, labels, keys, strict=True)]
    images = inputs[0].dtype == torch.uint8 and inputs[0].dim() == 4
    preprocess = Preprocess(scale=255.0 if images else 1.0)
    if test is None:
        return own_splits(keyed[0], preprocess, test_share, facts)
    return Splits(keyed[0], keyed[1], preprocess, official=True, facts=facts)


def _stored(
    sides: dict[str, Any], texts: list[list[str] | None]
) -> tuple[list[Tensor], list[Tensor | None], dict[str, Any]]:
    """Inputs of each side as they are stored, their keys if they are not those of the bytes, and facts."""
    known = [side for side in texts if side is not None]
    if len(known) < len(texts):
        return [_inputs(x, f"the inputs of {name}") for name, x in sides.items()], [None] * len(sides), {}
    inputs, cut = stored_texts(known)
    return inputs, [text_keys(side) for side in known], {"texts_cut": cut}


def _texts(values: Any) -> list[str] | None:
    """The texts [N], if inputs are nothing else."""
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "UO":
        values = values.tolist()
    texts = isinstance(values, list | tuple) and len(values) > 0 and all(isinstance(text, str) for text in values)
    return list(values) if texts else None


def _pair(side: Arrays, name: str) -> tuple[Any, Any]:
    """Inputs and labels of all examples."""
    if isinstance(side, tuple) and len(side) == 2:
        return side
    if not isinstance(side, Dataset) or isinstance(side, IterableDataset) or not isinstance(side, Sized):
        raise DataError(
            f"{name} is a {type(side).__name__}",
            expected="(inputs, labels), or a map-style torch.utils.data.Dataset of (x, y) with a length",
            do="give a tuple of two arrays; an iterable dataset has to be read into arrays first",
        )
    return _read_dataset(side, len(side), name)


def _read_dataset(dataset: Dataset[Any], count: int, name: str) -> tuple[Tensor | NDArray[Any], NDArray[Any]]:
    """All items of a Dataset, after a few were read twice to see whether they stay the same."""
    if count == 0:
        raise DataError(f"{name} is a Dataset of length 0", expected="at least one item", do="look at its files")
    for place in np.linspace(0, count - 1, min(_PROBES, count)).astype(int).tolist():
        once, again = (np.asarray(_item(dataset, place, name)[0]) for _ in range(2))
        if once.tobytes() != again.tobytes():
            raise DataError(
                f"{name} gave other values for item {place} when it was read again: its transform is random",
                expected="the same values every time, since the teacher's answers are kept by content",
                do="give the dataset without its random transform; use `fit.augment` for augmented views",
            )
    values, labels = zip(*(_item(dataset, place, name) for place in range(count)), strict=True)
    odd = next((place for place, x in enumerate(values) if x.shape != values[0].shape), None)
    if odd is not None:
        raise DataError(
            f"item {odd} of {name} has shape {tuple(values[odd].shape)}, item 0 {tuple(values[0].shape)}",
            expected="items of one shape",
            do="resize or pad them in the dataset's transform",
        )
    stacked = torch.stack(values) if isinstance(values[0], Tensor) else np.stack(values)
    return stacked, _item_labels(labels, name)


def _item(dataset: Dataset[Any], place: int, name: str) -> tuple[Tensor | NDArray[Any], Any]:
    """One (x, y); a picture of Pillow becomes a tensor [C, H, W]."""
    item = dataset[place]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(
            f"item {place} of {name} is a {type(item).__name__}",
            expected="a pair (x, y)",
            do="wrap the dataset in one that gives pairs",
        )
    x, y = item
    if isinstance(x, Image.Image):
        pixels = np.array(x if x.mode == "L" else x.convert("RGB"))
        x = torch.from_numpy(pixels[None] if x.mode == "L" else pixels.transpose(2, 0, 1))
    return x if isinstance(x, Tensor) else np.asarray(x), y


def _item_labels(labels: tuple[Any, ...], name: str) -> NDArray[Any]:
    """Labels [N] of a Dataset's items: numbers, tensors of one number, names, or None."""
    known = [y.item() if isinstance(y, Tensor) and y.numel() == 1 else y for y in labels]
    array = np.asarray([UNLABELLED if y is None else y for y in known])
    if array.dtype.kind == "U" and None in known:
        raise DataError(
            f"{name} has names for some items and None for others",
            expected="whole numbers where some labels are not known",
            do=f"number the classes, with {UNLABELLED} for None",
        )
    return array


def _inputs(values: Any, name: str) -> Tensor:
    """Inputs as they are stored; only numpy leaves open where the channels are."""
    if not isinstance(values, Tensor):
        return as_inputs(_array(values, name), name, layout=None)
    layout = (values.dim() == 4 and guess_layout(tuple(values.shape))) or "nchw"
    # numpy has no bfloat16.
    plain = values.detach().cpu()
    return as_inputs((plain.float() if plain.is_floating_point() else plain).numpy(), name, layout)


def _labels(labels: Any, count: int) -> NDArray[Any]:
    """Labels as an array of numbers or names."""
    if labels is None:
        return np.full(count, UNLABELLED)
    return labels.detach().cpu().numpy() if isinstance(labels, Tensor) else _array(labels, "the labels")


def _array(values: Any, name: str) -> NDArray[Any]:
    """An array of what may be a list, which numpy refuses if it is ragged."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(
            f"{name} cannot be made an array: {error}",
            expected="examples of one shape",
            do="resize or pad them",
        ) from error
