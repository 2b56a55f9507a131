"""What is checked before any hour is spent: is this a teacher, and of these classes?

Dimension key: N examples, C classes.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from limbeck.data import Examples, derive_seed
from limbeck.errors import DataError
from limbeck.teachers.calibration import calibrate, suggested_temperatures
from limbeck.teachers.class_order import Exchange, exchanged, never_said
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.gives import Logits, Probabilities, look_like_probabilities
from limbeck.teachers.teacher import BATCH_SIZE, Teacher, ask_all, evenly

ASKED = 1000
"""Training examples the preflight asks about."""
FIRST = 8
"""Examples of the first question where time is short: how long it takes decides how many follow."""
UNDECIDED = 0.95
"""Mean entropy, as a share of log C, above which answers hardly depend on the example."""

Likeness = Literal["log-probabilities", "sigmoids"]


@dataclass(frozen=True, eq=False)
class Asked:
    """A teacher's answers to some examples.

    Args:
        teacher: who was asked; one that declares logits and gave probabilities was told so.
        examples: about which.
        logits_NC: what it said, [N, C].
        seconds_each: how long an answer took.
        members: the same of the members of an ensemble.
    """

    teacher: Teacher
    examples: Examples
    logits_NC: Tensor
    seconds_each: float
    members: tuple["Asked", ...] = ()


def ask_some(teacher: Teacher, examples: Examples, *, most: int = ASKED, seconds: float = math.inf) -> Asked:
    """Ask a teacher, and the members of an ensemble, about some examples, evenly over the data.

    Args:
        teacher: who is asked.
        examples: of which `most` are chosen.
        most: examples.
        seconds: after which no further question is begun.

    Raises:
        DataError: answers that are no answers, see `ask`, another number of classes than the data's, or a constant
            answer.
    """
    members = teacher.within if isinstance(teacher, EnsembleTeacher) else ()
    each = tuple(ask_some(member, examples, most=most, seconds=seconds / (len(members) + 1)) for member in members)
    some = examples.select(evenly(len(examples), most))
    for inner in teacher.within if not members else ():
        _told(inner, ask_all(inner, some.select(torch.arange(min(len(some), FIRST)))))
    if seconds < math.inf:
        # In no order of theirs, so that those asked before time is up are of all kinds.
        generator = torch.Generator().manual_seed(derive_seed("preflight"))
        some = some.select(torch.randperm(len(some), generator=generator))
    logits_NC, seconds_each = _asked_within(teacher, some, seconds)
    _check_form(logits_NC, len(examples.classes))
    answered = some.select(torch.arange(len(logits_NC)))
    return Asked(teacher, answered, _told(teacher, logits_NC), seconds_each, each)


def look_at_answers(asked: Asked, *, allow_weak: bool) -> dict[str, Any]:
    """What a teacher's answers tell about it, for the record.

    Returns:
        Examples asked; what it gives, by which rule, and what that looks like; the entropy of its answers as a share
        of log C; the suggested temperatures; with labels its accuracy beside chance, its calibration, outputs that
        look exchanged and classes it never names; remarks on what is odd; of an ensemble also the same of each member.

    Raises:
        DataError: accuracy no better than chance (unless `allow_weak`), with a guess at the reason.
    """
    each = [look_at_answers(member, allow_weak=allow_weak) for member in asked.members]
    logits_NC, examples, gives = asked.logits_NC, asked.examples, asked.teacher.gives
    likeness = looks_like(logits_NC) if isinstance(gives, Logits) else None
    found: dict[str, Any] = {
        "asked": len(examples),
        "gives": gives.name,
        "rule": gives.rule,
        "looks_like": likeness,
        "entropy": entropy(logits_NC),
        "temperatures": suggested_temperatures(logits_NC),
        "chance": None,
        "train_accuracy": None,
    }
    known = examples.labelled
    if known.any():
        found |= _look_at_labels(logits_NC[known], examples.select(known), allow_weak)
    found["remarks"] = tuple(_remarks(found, examples.classes))
    return found | ({"members": each} if each else {})


def looks_like(logits_NC: Tensor) -> Likeness | None:
    """What logits seem to be besides.

    Log-probabilities are logits, and fine: their softmax gives the probabilities back. Sigmoids are not, since the
    softmax of numbers between 0 and 1 hardly knows one class from another.
    """
    if bool((logits_NC.double().logsumexp(dim=1).abs() < 1e-3).all()):
        return "log-probabilities"
    return "sigmoids" if bool(((logits_NC >= 0) & (logits_NC <= 1)).all()) else None


def entropy(logits_NC: Tensor) -> float:
    """The mean entropy at temperature 1 as a share of log C: 1 is one who knows nothing."""
    log_p_NC = logits_NC.double().log_softmax(dim=1)
    return float(torch.special.entr(log_p_NC.exp()).sum(dim=1).mean() / math.log(logits_NC.shape[1]))


def _chance_of(labels_N: Tensor) -> tuple[float, float]:
    """The commonest class's share, and what accuracy must exceed to be clearly above it.

    That is two standard errors above always naming the commonest class; with few labels half-way up, which can be
    reached.
    """
    count = len(labels_N)
    chance = float(labels_N.bincount().max()) / count
    return chance, min(chance + 2 * math.sqrt(chance * (1 - chance) / count), (1 + chance) / 2)


# --- asking ----------------------------------------------------------------------------------------------------------


def _asked_within(teacher: Teacher, some: Examples, seconds: float) -> tuple[Tensor, float]:
    """Logits [M, C] of the first M examples, as many as time allows, and how long one took once warm."""
    began, last = time.perf_counter(), 0.0
    parts: list[Tensor] = []
    for rows in _questions(len(some), seconds < math.inf):
        asked_at = time.perf_counter()
        if parts and asked_at - began + last * len(rows) > seconds:
            break
        parts.append(ask_all(teacher, some.select(rows)))
        last = (time.perf_counter() - asked_at) / len(rows)
    return torch.cat(parts), last


def _questions(examples: int, carefully: bool) -> Iterator[Tensor]:
    """The rows of each question: full batches, or such as grow to that."""
    start, size = 0, FIRST if carefully else BATCH_SIZE
    while start < examples:
        yield torch.arange(start, min(start + size, examples))
        start, size = start + size, min(2 * size, BATCH_SIZE)


def _told(teacher: Teacher, logits_NC: Tensor) -> Tensor:
    """Its logits, once a teacher that declares logits, and is found to give probabilities, was told so."""
    if teacher.within or not isinstance(teacher.gives, Logits) or not look_like_probabilities(logits_NC):
        return logits_NC
    teacher.gives = Probabilities()
    return teacher.gives.logits(logits_NC)


# --- looking ---------------------------------------------------------------------------------------------------------


def _check_form(logits_NC: Tensor, classes: int) -> None:
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


def _look_at_labels(logits_NC: Tensor, examples: Examples, allow_weak: bool) -> dict[str, Any]:
    predicted_N, labels_N, classes = logits_NC.argmax(dim=1), examples.labels, len(examples.classes)
    accuracy = float((predicted_N == labels_N).double().mean())
    chance, bar = _chance_of(labels_N)
    exchange = exchanged(predicted_N, labels_N, classes)
    if accuracy <= bar and chance < 1 and not allow_weak:
        raise DataError(
            f"the teacher is right on {accuracy:.1%} of {len(labels_N)} labelled training examples",
            expected=f"more than {bar:.1%}, clearly above the commonest class's share of {chance:.1%}",
            do=_advice(exchange, examples.classes, entropy(logits_NC)),
        )
    calibration = calibrate(logits_NC, labels_N)
    return {
        "train_accuracy": accuracy,
        "chance": chance,
        "calibration": None if calibration is None else asdict(calibration),
        "exchanged": None if exchange is None else asdict(exchange),
        "never_said": never_said(predicted_N, labels_N, classes),
    }


def _remarks(found: dict[str, Any], classes: tuple[str, ...]) -> Iterator[str]:
    """What a run goes on with, and its user should know."""
    if found["looks_like"] == "sigmoids":
        yield (
            "all of the teacher's logits lie between 0 and 1, as after a sigmoid: their softmax hardly knows one class "
            "from another"
        )
    if found.get("exchanged"):
        exchange = Exchange(**found["exchanged"])
        yield (
            f"outputs of the teacher look exchanged: with {exchange.words(classes)} it would be right on "
            f"{exchange.accuracy:.1%}, not {found['train_accuracy']:.1%}"
        )
    if found.get("never_said"):
        names = ", ".join(classes[label] for label in found["never_said"][:5])
        yield f"the teacher never names {names}"


def _advice(exchange: Exchange | None, classes: tuple[str, ...], undecided: float) -> str:
    """A permuted class order, if that explains it; a head that never learnt; else the usual suspects."""
    if exchange is not None:
        return (
            f"its classes look permuted: with {exchange.words(classes)} it would be right on "
            f"{exchange.accuracy:.1%}; reorder its outputs"
        )
    if undecided > UNDECIDED:
        return (
            f"its answers are all but even (entropy {undecided:.0%} of the largest), as of a head that was never "
            "trained: load its last layer too (--allow-weak-teacher, in Python allow_weak_teacher=True, goes on "
            "all the same)"
        )
    return (
        "check its preprocessing, class order and head "
        "(--allow-weak-teacher, in Python allow_weak_teacher=True, goes on all the same)"
    )
