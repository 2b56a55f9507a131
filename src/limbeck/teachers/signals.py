"""What a fit hears from the teacher, example by example: looked up in the store, or asked on the spot.

Dimension key: N training examples, B examples of a batch, C classes.
"""

from dataclasses import dataclass, replace
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
    """

    logits: Tensor

    def fetch(self, rows: Tensor, inputs: Tensor) -> Signal:
        """See `Signals.fetch`."""
        return Signal(decode(self.logits[rows]))

    def to(self, device: torch.device) -> "Stored":
        """See `Signals.to`."""
        return replace(self, logits=self.logits.to(device))

    def shuffled(self, seed: int) -> "Stored":
        """Signals permuted among examples of one predicted class: right answers, foreign doubts."""
        generator = torch.Generator().manual_seed(seed)
        logits = self.logits.clone()
        predicted = decode(self.logits).argmax(dim=1)
        for label in predicted.unique():
            rows = (predicted == label).nonzero()[:, 0]
            logits[rows] = self.logits[rows[torch.randperm(len(rows), generator=generator)]]
        return replace(self, logits=logits)


@dataclass(frozen=True, eq=False)
class Live:
    """Signals asked of the teacher at every step, of the very view the student sees.

    Args:
        teacher: who is asked.
        examples: the set whose rows are asked for.
        dtype: of the encoding, so that a live answer and a stored one of the same batch are equal bit for bit.
    """

    teacher: Teacher
    examples: Examples
    dtype: torch.dtype

    def fetch(self, rows: Tensor, inputs: Tensor) -> Signal:
        """See `Signals.fetch`."""
        logits = ask(self.teacher, inputs.cpu(), self.examples.keys[rows.cpu()])
        return Signal(decode(encode(logits, self.dtype)).to(inputs.device))

    def to(self, device: torch.device) -> "Live":
        """See `Signals.to`: a live answer follows its inputs."""
        return self


def encode(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """Logits in the type in which they are stored."""
    return logits.to(dtype)


def decode(stored: Tensor) -> Tensor:
    """Stored logits as float32."""
    return stored.float()


def bears_half(logits: Tensor) -> bool:
    """Whether float16 holds these logits with an error below each row's range x 2^-10.

    The range and not the largest value: softmax knows no offset, and one shared by a whole row would hide any error.
    """
    error = (decode(encode(logits, torch.float16)) - logits).abs().amax(dim=1)
    return bool((error <= HALF_ERROR * ranges(logits)).all())


def ranges(logits: Tensor) -> Tensor:
    """The largest logit of each row less the smallest, [N]."""
    return logits.amax(dim=1) - logits.amin(dim=1)
