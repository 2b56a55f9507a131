"""What a teacher is, and how it is asked.

Dimension key: N examples, C classes.
"""

from dataclasses import replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from limbeck.data import Examples
from limbeck.errors import DataError
from limbeck.signal import Signal

Gives = Literal["logits", "probabilities"]

PROBABILITY_FLOOR = 1e-4
"""A plain probability of 0 has no logarithm: every probability counts as at least this much."""

BATCH_SIZE = 128
"""Examples of one question: its activations stay in the cache (bench/peers), and its shape decides the last bits."""


class Teacher(Protocol):
    """Whatever answers examples with one number per class.

    It is pure: asked twice it says the same, and asking changes nothing in it.
    """

    gives: Gives

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
    if teacher.gives == "logits":
        return answers_NC
    if not look_like_probabilities(answers_NC):
        sums_N = answers_NC.sum(dim=1)
        raise DataError(
            f"the teacher gave probabilities before, and now values from {answers_NC.min():.3g} to "
            f"{answers_NC.max():.3g} in rows that sum to {sums_N.min():.3g} to {sums_N.max():.3g}",
            expected="rows of probabilities that sum to 1, or logits throughout",
            do="let the teacher return its logits",
        )
    return logits_of_probabilities(answers_NC)


def ask_all(teacher: Teacher, examples: Examples) -> Tensor:
    """A teacher's logits for all examples [N, C], in batches."""
    parts = zip(examples.inputs.split(BATCH_SIZE), examples.keys.split(BATCH_SIZE), strict=True)
    return torch.cat([ask(teacher, inputs, keys).logits for inputs, keys in parts])


def logits_of_probabilities(probabilities_NC: Tensor) -> Tensor:
    """Log max(p, floor): logits whose softmax is p, but for the floor."""
    return probabilities_NC.clamp_min(PROBABILITY_FLOOR).log()


def look_like_probabilities(answers_NC: Tensor) -> bool:
    """Whether every row is non-negative and sums to 1: logits do so only by a miracle."""
    sums_N = answers_NC.sum(dim=1)
    return bool((answers_NC >= 0).all() and ((sums_N - 1).abs() < 1e-2).all())
