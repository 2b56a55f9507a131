"""Whether a teacher would be better with other preprocessing than it has.

Dimension key: N examples, C classes.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.data import AnyPreprocess, Examples, ImagePreprocess, Preprocess
from limbeck.errors import DataError
from limbeck.teachers import Asked, Picked, Teacher, ask_all

SCALES = (1.0, 16.0, 255.0)
NORMS: dict[str, tuple[float | tuple[float, ...], float | tuple[float, ...]]] = {
    "ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "MNIST's mean and std": ((0.1307,), (0.3081,)),
    "mean and std 0.5": (0.5, 0.5),
}
"""Of inputs from 0 to 1, by channel; one number is for any channels."""
TRIED = 256
"""Examples about which each is asked."""
SECONDS = 10.0
"""Of asking in all, or fewer examples are tried."""


@runtime_checkable
class Preprocessing(Protocol):
    """A teacher that brings stored inputs to what it takes by a setting."""

    preprocess: AnyPreprocess


@dataclass(frozen=True)
class Alternative:
    """Other preprocessing, in words, and the shares of right answers with it and without, on so many examples."""

    words: str
    accuracy: float
    now: float
    examples: int


@dataclass(frozen=True)
class _Way:
    """A preprocessing, after a change of the stored inputs."""

    words: str
    preprocess: Preprocess
    change: Callable[[Tensor], Tensor] = lambda inputs: inputs


def better_preprocess(asked: Asked) -> Alternative | None:
    """The usual preprocessing with which a teacher would clearly be better; None where there is none, or none to try.

    Clearly: more than 5 points, and more than 3.5 standard errors of the pairs in which just one of the two is right,
    since some fifteen are tried.
    """
    known = asked.examples.labelled
    some, logits_NC = asked.examples.select(known), asked.logits_NC[known]
    own = _preprocess_of(asked.teacher)
    if own is None or not len(some):
        return None
    ways = list(_ways(own, some))
    affordable = int(SECONDS / (len(ways) * max(asked.seconds_each, 1e-9)))
    some = some.select(torch.arange(min(len(some), TRIED, affordable)))
    if len(some) < 32:
        return None
    now_N = logits_NC[: len(some)].argmax(dim=1) == some.labels
    best, right_N = _best(asked.teacher, ways, some)
    won, lost = int((right_N & ~now_N).sum()), int((now_N & ~right_N).sum())
    if won - lost <= max(0.05 * len(some), 3.5 * math.sqrt(won + lost)):
        return None
    return Alternative(best.words, float(right_N.double().mean()), float(now_N.double().mean()), len(some))


def _ways(own: Preprocess, examples: Examples) -> Iterator[_Way]:
    shape = examples.input_shape
    channels = own.channels if isinstance(own, ImagePreprocess) else shape[0]
    for scale in SCALES:
        plain = replace(own, scale=scale, mean=None, std=None)
        yield _Way(f"scale {scale:g}", plain)
        for words, (mean, std) in NORMS.items() if len(shape) == 3 else ():
            means, stds = (_by_channel(values, channels) for values in (mean, std))
            if len(means) == channels:
                yield _Way(f"scale {scale:g}, {words}", replace(own, scale=scale, mean=means, std=stds))
    high = examples.inputs.max()
    yield _Way("light and dark exchanged", own, lambda inputs: high - inputs)
    if len(shape) == 3 and shape[0] == 3:
        yield _Way("red and blue exchanged", own, lambda inputs: inputs.flip(1))


def _by_channel(values: float | tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if isinstance(values, tuple) else (values,) * channels


def _best(teacher: Teacher, ways: Sequence[_Way], examples: Examples) -> tuple[_Way, Tensor]:
    """The way with the most right answers, and which these are, [N].

    Of those within two in a hundred of the most it is the one that fits the labels best: many networks hardly mind
    the scale when they choose, but all do when they doubt.
    """
    found = []
    for way in ways:
        logits_NC = _answers(teacher, way, examples)
        nll = float(F.cross_entropy(logits_NC, examples.labels))
        found.append((way, logits_NC.argmax(dim=1) == examples.labels, nll))
    most = max(int(right_N.sum()) for _, right_N, _ in found)
    near = [each for each in found if int(each[1].sum()) >= most - 0.02 * len(examples)]
    way, right_N, _ = min(near, key=lambda each: each[2])
    return way, right_N


def _answers(teacher: Teacher, way: _Way, examples: Examples) -> Tensor:
    """Logits [N, C]; all of them 0 where it gives no answer that can be used."""
    try:
        return ask_all(_with(teacher, way.preprocess), replace(examples, inputs=way.change(examples.inputs)))
    except DataError:
        return torch.zeros(len(examples), len(examples.classes))


def _preprocess_of(teacher: Teacher) -> Preprocess | None:
    if isinstance(teacher, Picked):
        return _preprocess_of(teacher.teacher)
    own = teacher.preprocess if isinstance(teacher, Preprocessing) else None
    return own if isinstance(own, Preprocess) else None


def _with(teacher: Teacher, preprocess: Preprocess) -> Teacher:
    """The same teacher but for its preprocessing."""
    other = copy.copy(teacher)
    if isinstance(other, Picked):
        other.teacher = _with(other.teacher, preprocess)
    elif isinstance(other, Preprocessing):
        other.preprocess = preprocess
    return other
