"""What a fit hears from the teacher, example by example: looked up in the store, or asked on the spot.

Dimension key: N training examples, B examples of a batch, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from limbeck.data import Examples
from limbeck.signal import Signal
from limbeck.teachers.teacher import Teacher, ask

HALF_ERROR = 2.0**-10
"""The largest error, as a share of a row's range, at which an encoding counts as faithful."""


class Signals(Protocol):
    """The teacher's signal for the rows of one set of examples."""

    def fetch(self, rows: Tensor, inputs: Tensor) -> Signal:
        """The signal for rows [B] of the examples, seen as inputs [B, ...] (stored type, augmented)."""
        ...

    def to(self, device: torch.device) -> "Signals":
        """The same for rows and inputs on a device."""
        ...


@dataclass(frozen=True, eq=False)
class Stored:
    """Signals from the label store, of the plain example whatever its view.

    Args:
        logits: [N, C] as encoded.
        features: [N, ...] as encoded, by tap.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)

    def fetch(self, rows: Tensor, inputs: Tensor) -> Signal:
        """See `Signals.fetch`."""
        features = {
            tap: decode(values[rows.to(values.device)].to(rows.device)) for tap, values in self.features.items()
        }
        return Signal(decode(self.logits[rows]), features)

    def to(self, device: torch.device) -> "Stored":
        """See `Signals.to`: features, which may be large, stay where they are and follow batch by batch."""
        return replace(self, logits=self.logits.to(device))

    def select(self, rows: Tensor) -> "Stored":
        """The signals of rows [M], in their order."""
        return Stored(self.logits[rows], {tap: values[rows] for tap, values in self.features.items()})

    def shuffled(self, seed: int) -> "Stored":
        """Signals permuted among examples of one predicted class: right answers, foreign doubts."""
        generator = torch.Generator().manual_seed(seed)
        predicted = decode(self.logits).argmax(dim=1)
        foreign = torch.arange(len(predicted))
        for label in predicted.unique():
            rows = (predicted == label).nonzero()[:, 0]
            foreign[rows] = rows[torch.randperm(len(rows), generator=generator)]
        return self.select(foreign)


@dataclass(frozen=True, eq=False)
class Live:
    """Signals asked of the teacher at every step, of the very view the student sees.

    Args:
        teacher: who is asked.
        examples: the set whose rows are asked for.
        dtype: of the encoding, so that a live answer and a stored one of the same batch are equal bit for bit; a view
            that it cannot hold keeps its float32.
    """

    teacher: Teacher
    examples: Examples
    dtype: torch.dtype

    def fetch(self, rows: Tensor, inputs: Tensor) -> Signal:
        """See `Signals.fetch`."""
        answer = ask(self.teacher, inputs.cpu(), self.examples.keys[rows.cpu()])
        features = {tap: self._written(values, inputs) for tap, values in answer.features.items()}
        return Signal(self._written(answer.logits, inputs), features)

    def _written(self, values: Tensor, inputs: Tensor) -> Tensor:
        """As a store would give it back, beside its inputs."""
        given = decode(encode(values, self.dtype))
        return torch.where(given.isfinite(), given, values).to(inputs.device)

    def to(self, device: torch.device) -> "Live":
        """See `Signals.to`: a live answer follows its inputs."""
        return self


def encode(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Logits or features in the type in which they are stored."""
    return values.to(dtype)


def decode(stored: Tensor) -> Tensor:
    """Stored values as float32."""
    return stored.float()


def bears_half(values: Tensor) -> bool:
    """Whether float16 holds these values [N, ...] with an error below each row's range x 2^-10.

    The range and not the largest value: softmax knows no offset, and one shared by a whole row would hide any error.
    """
    return bool((largest_errors(values, encode(values, torch.float16)) <= HALF_ERROR * ranges(values)).all())


def largest_errors(values: Tensor, stored: Tensor) -> Tensor:
    """The largest error of each row [N] of what is stored."""
    return (decode(stored) - values).abs().flatten(1).amax(dim=1)


def ranges(values: Tensor) -> Tensor:
    """The largest value of each row less the smallest, [N]."""
    rows = values.flatten(1)
    return rows.amax(dim=1) - rows.amin(dim=1)
