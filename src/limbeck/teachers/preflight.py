"""What is checked before any hour is spent: is this a teacher, and of these classes?

Dimension key: N examples, C classes.
"""

import math
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from limbeck.data import Examples
from limbeck.errors import DataError
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.gives import Logits, Probabilities, look_like_probabilities
from limbeck.teachers.teacher import BATCH_SIZE, Teacher, ask_all

ASKED = 1000
"""Training examples the preflight asks about."""


def preflight(teacher: Teacher, examples: Examples, *, allow_weak: bool) -> dict[str, Any]:
    """Look at a teacher's answers to some training examples; finds out whether it gives probabilities.

    Returns:
        What was found, for the record: examples asked, accuracy (None without labels), chance, what it gives; of an
        ensemble also the same of each member.

    Raises:
        DataError: another number of classes than the data's, a constant answer, or accuracy no better than chance
            (unless `allow_weak`), with a guess at a permuted class order.
    """
    members = teacher.within if isinstance(teacher, EnsembleTeacher) else ()
    each = [preflight(member, examples, allow_weak=allow_weak) for member in members]
    some = examples.select(_spread(len(examples)))
    for inner in teacher.within if not members else ():
        _told(inner, ask_all(inner, some.select(torch.arange(min(len(some), BATCH_SIZE)))))
    logits_NC = _told(teacher, ask_all(teacher, some))
    classes = len(examples.classes)
    if logits_NC.shape[1] != classes:
        raise DataError(
            f"the teacher gives {logits_NC.shape[1]} classes, the data have {classes}",
            expected="one output per class of the data, in the data's order",
            do="choose a teacher of these classes, or cut its last layer to them",
        )
    if len(logits_NC) > 1 and bool((logits_NC == logits_NC[0]).all()):
        raise DataError(
            f"the teacher gives the same answer to all {len(logits_NC)} examples asked",
            expected="answers that depend on the example",
            do="check its weights and its preprocessing",
        )
    known = some.labelled
    gives = {"gives": teacher.gives.name, "rule": teacher.gives.rule}
    found: dict[str, Any] = {"asked": len(some), **gives, "chance": None, "train_accuracy": None}
    if known.any():
        found |= _check_accuracy(logits_NC[known], some.labels[known], allow_weak)
    return found | ({"members": each} if each else {})


def _told(teacher: Teacher, logits_NC: Tensor) -> Tensor:
    """Its logits, once a teacher that declares logits, and is found to give probabilities, was told so."""
    if teacher.within or not isinstance(teacher.gives, Logits) or not look_like_probabilities(logits_NC):
        return logits_NC
    teacher.gives = Probabilities()
    return teacher.gives.logits(logits_NC)


def _spread(examples: int) -> Tensor:
    """Up to ASKED rows, evenly over the data: classes often lie in blocks."""
    return torch.linspace(0, examples - 1, min(ASKED, examples), dtype=torch.float64).round().long()


def _check_accuracy(logits_NC: Tensor, labels_N: Tensor, allow_weak: bool) -> dict[str, float]:
    predicted_N = logits_NC.argmax(dim=1)
    accuracy = float((predicted_N == labels_N).double().mean())
    count = len(labels_N)
    chance = float(labels_N.bincount().max()) / count
    # Two standard errors above always naming the commonest class; with few labels half-way up, which can be reached.
    bar = min(chance + 2 * math.sqrt(chance * (1 - chance) / count), (1 + chance) / 2)
    if accuracy <= bar and chance < 1 and not allow_weak:
        raise DataError(
            f"the teacher is right on {accuracy:.1%} of {count} labelled training examples",
            expected=f"more than {bar:.1%}, clearly above the commonest class's share of {chance:.1%}",
            do=_advice(predicted_N, labels_N, logits_NC.shape[1], accuracy),
        )
    return {"train_accuracy": accuracy, "chance": chance}


def _advice(predicted_N: Tensor, labels_N: Tensor, classes: int, accuracy: float) -> str:
    """A permuted class order, if one would make the teacher much better; else the usual suspects."""
    confusion = torch.zeros(classes, classes)
    confusion.index_put_((predicted_N, labels_N), torch.ones(len(labels_N)), accumulate=True)
    said, meant = linear_sum_assignment(-confusion.numpy())
    permuted = float(confusion[said, meant].sum()) / len(labels_N)
    if permuted > max(0.5, 2 * accuracy):
        pairs = ", ".join(f"{a} -> {b}" for a, b in zip(said[:12].tolist(), meant[:12].tolist(), strict=True))
        return f"its classes look permuted: with {pairs} it would be right on {permuted:.1%}; reorder its outputs"
    return (
        "check its preprocessing, class order and head "
        "(--allow-weak-teacher, in Python allow_weak_teacher=True, goes on all the same)"
    )
