"""Examples in memory, each with a key made of its content.

Dimension key: N examples, G distinct keys.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.data.randomness import GAMMA, split_mix
from limbeck.errors import DataError, name_some
from limbeck.signal import UNLABELLED

_PART = 1 << 22  # numbers that are looked at together


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples as they are stored, before any transform; made by `key_examples`.

    Args:
        inputs: [N, ...], uint8 or float32, on the CPU; images are [N, C, H, W].
        labels: [N] int64, `UNLABELLED` where the true class is not known.
        keys: [N, 32] uint8, sha256 of each example's stored bytes, or of what its source declares to be its content.
            Duplicates have one key.
        classes: the name of each label.
        coding: what the stored values stand for, where the key does not decide it: another vocabulary, another coding.
    """

    inputs: Tensor
    labels: Tensor
    keys: Tensor
    classes: tuple[str, ...]
    coding: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Tensor) -> "Examples":
        """The rows of an index [M] or mask [N]; their occurrences are counted anew among themselves.

        All of them are no copy: they may be larger than the memory.
        """
        if index.dtype == torch.bool and bool(index.all()):
            return self
        return replace(self, inputs=self.inputs[index], labels=self.labels[index], keys=self.keys[index])

    def hide_labels(self, visible: Tensor) -> "Examples":
        """The same examples, their labels known only where the mask `visible` [N] is true."""
        return replace(self, labels=self.labels.masked_fill(~visible, UNLABELLED))

    @property
    def labelled(self) -> Tensor:
        """Mask [N]: where the true class is known."""
        return self.labels != UNLABELLED

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.inputs.shape[1:])

    @cached_property
    def groups(self) -> Tensor:
        """[N] int64 in [0, G): the place of each example's key among the distinct keys, sorted.

        Examples are in one group exactly when they are duplicates, and the order of groups is that of the
        keys, not of the rows.
        """
        _, groups = np.unique(as_words(self.keys), return_inverse=True)
        return torch.from_numpy(groups)

    @cached_property
    def occurrences(self) -> Tensor:
        """[N] int64: 0 for the first example of a key, 1 for its first duplicate, and so on."""
        order = torch.argsort(self.groups, stable=True)
        sizes_G = torch.bincount(self.groups)
        starts_G = sizes_G.cumsum(0) - sizes_G
        occurrences = torch.empty_like(self.groups)
        occurrences[order] = torch.arange(len(self)) - starts_G.repeat_interleave(sizes_G)
        return occurrences

    @cached_property
    def stream_ids(self) -> Tensor:
        """[N] int64: what tells an example's randomness from another's, made of its key and occurrence.

        Batches gather these beside the inputs; a batch made by `select` would count occurrences within
        itself.
        """
        return split_mix(self.key_words + GAMMA * self.occurrences)

    @cached_property
    def key_words(self) -> Tensor:
        """[N] int64: the first 8 bytes of each key, little end first, where one integer stands for it."""
        words = np.ascontiguousarray(self.keys[:, :8].numpy()).view("<i8")[:, 0]
        return torch.from_numpy(words.astype(np.int64))

    @property
    def stored_as(self) -> dict[str, Any]:
        """What an input is, whichever it is: a teacher's answer about a key holds for inputs of this kind alone."""
        facts = {"shape": list(self.input_shape), "dtype": str(self.inputs.dtype)}
        return facts | ({"coding": self.coding} if self.coding else {})

    @property
    def duplicates(self) -> int:
        """How many examples repeat the key of an earlier one."""
        return int((self.occurrences > 0).sum())


def key_examples(
    inputs: Tensor, labels: Tensor, classes: tuple[str, ...], keys: Tensor | None = None, coding: str = ""
) -> Examples:
    """Examples with their keys, after a look at what no later stage could bear.

    Args:
        inputs: [N, ...], uint8 or float32.
        labels: [N] int64, in [0, len(classes)) or `UNLABELLED`.
        classes: the name of each label.
        keys: [N, 32] uint8, declared by a source whose stored values are not the content itself; NaN is then a value
            that is missing. None makes them of the stored bytes.
        coding: of such a source, see `Examples`.

    Raises:
        DataError: no examples, counts or types that do not fit, values that are not finite, labels without a
            class, fewer than two classes, or fewer examples than classes.
    """
    _check_inputs(inputs, labels)
    _check_labels(labels, classes)
    if inputs.is_floating_point() and keys is None:
        _check_finite(inputs)
    inputs = inputs.contiguous()
    return Examples(inputs, labels, _sha256_rows(inputs) if keys is None else keys, classes, coding)


def overlap(first: Examples, second: Examples) -> Tensor:
    """Sorted index of the rows of `second` whose key is in `first` too."""
    shared = np.isin(as_words(second.keys), as_words(first.keys))
    return torch.from_numpy(np.flatnonzero(shared))


def as_words(keys: Tensor) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """Keys [N, 32] as [N] words of 32 bytes, which numpy sorts and looks up quickly."""
    # It disregards zeros at their end, which cannot merge two keys of one width.
    return np.ascontiguousarray(keys.numpy()).view("S32")[:, 0]


def _sha256_rows(inputs: Tensor) -> Tensor:
    rows = inputs.numpy().reshape(len(inputs), -1)
    digests = bytearray().join(hashlib.sha256(row.data).digest() for row in rows)
    return torch.frombuffer(digests, dtype=torch.uint8).reshape(-1, 32)


def _check_inputs(inputs: Tensor, labels: Tensor) -> None:
    if inputs.dim() < 2 or inputs.numel() == 0:
        raise DataError(
            f"the inputs have the shape {tuple(inputs.shape)}",
            expected="at least one example with at least one value, [N, ...]",
            do="look whether the data were read and filtered as you meant",
        )
    if inputs.dtype not in (torch.uint8, torch.float32):
        raise DataError(
            f"the inputs have the type {inputs.dtype}",
            expected="uint8 or float32",
            do="convert them to float32",
        )
    if labels.shape != inputs.shape[:1] or labels.dtype != torch.int64:
        raise DataError(
            f"{len(inputs)} inputs came with labels of shape {tuple(labels.shape)} and type {labels.dtype}",
            expected=f"one whole number an example, [{len(inputs)}] int64",
            do="give inputs and labels of the same examples",
        )


def _check_finite(inputs: Tensor) -> None:
    # A sum is finite only if all its terms are: one cheap pass clears nearly every set of data. In parts, since torch
    # makes a copy in float64, and the inputs may be larger than the memory.
    parts = inputs.split(max(1, _PART // inputs[0].numel()))
    if all(torch.isfinite(part.sum(dtype=torch.float64)) for part in parts):
        return
    finite = torch.cat([torch.isfinite(part).flatten(1).all(dim=1) for part in parts])
    bad = (~finite).nonzero()[:, 0]
    raise DataError(
        f"{len(bad)} of {len(inputs)} examples hold NaN or infinity: {name_some(bad.tolist())}",
        expected="finite values",
        do="mend or remove these examples",
    )


def _check_labels(labels: Tensor, classes: tuple[str, ...]) -> None:
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise DataError(
            f"the classes are {', '.join(classes) or 'none'}",
            expected="at least two classes, each with a name of its own",
            do="look at the labels, or at the names given to the classes",
        )
    known = labels != UNLABELLED
    bad = (known & ((labels < 0) | (labels >= len(classes)))).nonzero()[:, 0]
    if len(bad):
        raise DataError(
            f"{len(bad)} labels have no class; example {bad[0]} has the label {labels[bad[0]]}",
            expected=f"0 to {len(classes) - 1}, or {UNLABELLED} where the class is not known",
            do="number the classes from 0, or give a name to every class",
        )
    if known.any() and len(labels) < len(classes):
        raise DataError(
            f"{len(labels)} examples came with {len(classes)} classes",
            expected="at least as many examples as classes",
            do="give more examples; if the labels are not classes, limbeck cannot use them",
        )
