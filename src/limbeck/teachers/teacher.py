"""What a teacher is, and how it is asked.

Dimension key: N examples, C classes.
"""

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from limbeck.data import Examples
from limbeck.errors import DataError
from limbeck.signal import Signal
from limbeck.teachers.gives import Gives, facts_of

BATCH_SIZE = 128
"""Examples of one question: its activations stay in the cache (bench/peers), and its shape decides the last bits."""


class Teacher(Protocol):
    """Whatever answers examples with one number per class.

    It is pure: asked twice it says the same, and asking changes nothing in it.
    """

    gives: Gives
    """What its numbers are. One that declares logits and is found to give probabilities is told so by preflight."""

    @property
    def within(self) -> tuple["Teacher", ...]:
        """The teachers that it asks in its turn."""
        ...

    @property
    def size(self) -> int | None:
        """Its parameters; None where it shows none."""
        ...

    def identity(self) -> dict[str, Any]:
        """What decides its answers, as JSON: weights, structure, preprocessing. Part of the store's fingerprint."""
        ...

    def answer(self, inputs: Tensor, keys: Tensor) -> Signal:
        """Its answers [N, C], and what passes its taps [N, ...], in float32 on the CPU.

        Args:
            inputs: [N, ...] as stored, before any preprocessing.
            keys: [N, 32], of the examples that the inputs are views of.
        """
        ...

    def knows(self, examples: Examples) -> bool:
        """Whether it can answer these examples: a table of answers knows only its own rows."""
        ...


def identity_within(teacher: Teacher) -> dict[str, Any]:
    """The identity of a teacher that another asks, with what it gives: both decide the answer."""
    return {**teacher.identity(), "gives": facts_of(teacher.gives)}


def ask(teacher: Teacher, inputs: Tensor, keys: Tensor) -> Signal:
    """A teacher's signal, float32: its answers [N, C], checked, probabilities turned into logits by rule.

    Raises:
        DataError: answers that are not [N, C], features that are not [N, ...], or any that are not finite.
    """
    answer = teacher.answer(inputs, keys)
    for tap, features in answer.features.items():
        _check_features(tap, features, len(inputs))
    return replace(answer, logits=_logits(teacher, answer.logits, keys))


def _check_features(tap: str, features: Tensor, count: int) -> None:
    if features.ndim < 2 or len(features) != count or not features.isfinite().all():
        raise DataError(
            f"the teacher's tap {tap!r} gave shape {tuple(features.shape)} for {count} examples, "
            f"{int(features.isfinite().logical_not().sum())} values of it NaN or infinite",
            expected=f"finite features of shape [{count}, ...], each example its own",
            do="tap another part of the teacher, or look at its precision",
        )


def _logits(teacher: Teacher, answers_NC: Tensor, keys: Tensor) -> Tensor:
    if answers_NC.ndim != 2 or len(answers_NC) != len(keys):
        raise DataError(
            f"the teacher answered {len(keys)} examples with shape {tuple(answers_NC.shape)}",
            expected=f"[{len(keys)}, classes]",
            do="let the teacher return one row of logits per example",
        )
    finite_N = torch.isfinite(answers_NC).all(dim=1)
    if not finite_N.all():
        bad = (~finite_N).nonzero()[:, 0]
        names = ", ".join(bytes(keys[row].tolist()).hex()[:12] for row in bad[:3])
        raise DataError(
            f"the teacher's answer to {len(bad)} of {len(keys)} examples is NaN or infinite (keys {names} ...)",
            expected="finite logits",
            do="look at these examples, or at the teacher's preprocessing and precision",
        )
    return teacher.gives.logits(answers_NC)


def ask_all(teacher: Teacher, examples: Examples, batch_size: int = BATCH_SIZE) -> Tensor:
    """A teacher's logits for all examples [N, C], in batches; for small networks larger ones are quicker."""
    parts = zip(examples.inputs.split(batch_size), examples.keys.split(batch_size), strict=True)
    return torch.cat([ask(teacher, inputs, keys).logits for inputs, keys in parts])


def evenly(count: int, most: int) -> Tensor:
    """Up to `most` rows of so many, evenly over them: classes often lie in blocks."""
    return torch.linspace(0, count - 1, min(most, count), dtype=torch.float64).round().long()


def own_memory(seen: Tensor, inputs: Tensor) -> Tensor:
    """What a teacher is shown, in memory of its own: one that works in place would change the data for all after it."""
    shared = seen.untyped_storage().data_ptr() == inputs.untyped_storage().data_ptr()
    return seen.clone() if shared else seen


def tensor_of(answers: Any) -> Tensor:
    """What a teacher answered, as a tensor.

    Raises:
        DataError: neither a tensor nor an array of numbers.
    """
    if isinstance(answers, Tensor):
        return answers
    try:
        # A copy: torch warns of arrays that cannot be written.
        return torch.as_tensor(np.array(answers) if isinstance(answers, np.ndarray) else answers)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"the teacher answered with a {type(answers).__name__}",
            expected="a tensor or array of logits [N, classes]",
            do="wrap it in a function, or in an nn.Module if it is to be tapped, that returns the logits alone",
        ) from None
