"""What a fit hears from the teacher, example by example: looked up in the store, or asked on the spot.

Dimension key: N training examples, V views, R records, B examples of a batch, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from limbeck.data import Examples
from limbeck.signal import Signal
from limbeck.teachers.encoding import TAP, Encoding, halved
from limbeck.teachers.teacher import Teacher, ask


class Signals(Protocol):
    """The teacher's signal for the rows of one set of examples."""

    def fetch(self, rows: Tensor, inputs: Tensor, numbers: Tensor) -> Signal:
        """The signal for rows [B] of the examples, seen as inputs [B, ...] (stored type, augmented).

        Args:
            rows: [B].
            inputs: [B, ...], the view of each that the student sees.
            numbers: [B], the number of that view.
        """
        ...

    def to(self, device: torch.device) -> "Signals":
        """The same for rows and inputs on a device."""
        ...


@dataclass(frozen=True, eq=False)
class Stored:
    """Signals in memory: the answers to V views of each example, in turn whatever the epoch.

    Args:
        tensors: [N V, ...] as encoded, by the names they have in a shard; the views of an example stand together.
        encoding: that wrote them.
        classes: C.
        views: V; 1 is the plain example, whose answer stands for all its views.
    """

    tensors: Mapping[str, Tensor]
    encoding: Encoding = field(default_factory=Encoding)
    classes: int = 0
    views: int = 1

    def fetch(self, rows: Tensor, inputs: Tensor, numbers: Tensor) -> Signal:
        """See `Signals.fetch`."""
        at = rows if self.views == 1 else rows * self.views + numbers % self.views
        found = {name: values[at.to(values.device)].to(at.device) for name, values in self.tensors.items()}
        return self.encoding.decode(found, self.classes)

    def to(self, device: torch.device) -> "Stored":
        """See `Signals.to`: features, which may be large, stay where they are and follow batch by batch."""
        moved = {name: x if name.startswith(TAP) else x.to(device) for name, x in self.tensors.items()}
        return replace(self, tensors=moved)

    def shuffled(self, seed: int) -> "Stored":
        """Signals permuted among examples of one predicted class: right answers, foreign doubts."""
        logits = {name: values for name, values in self.tensors.items() if not name.startswith(TAP)}
        predicted_NV = first_choices(self.encoding.decode(logits, self.classes)).view(-1, self.views)
        return self.select(permuted_within(predicted_NV, seed))

    def select(self, rows: Tensor) -> "Stored":
        """The signals of rows [M] of the examples, in their order; with [M, V] each view has rows of its own."""
        rows_MV = rows if rows.ndim == 2 else rows[:, None]
        at = (rows_MV * self.views + torch.arange(self.views)).flatten()
        return replace(self, tensors={name: values[at] for name, values in self.tensors.items()})


@dataclass(frozen=True, eq=False)
class Live:
    """Signals asked of the teacher at every step, of the very view the student sees.

    Args:
        teacher: who is asked.
        examples: the set whose rows are asked for.
        encoding: through which an answer passes, so that a live one and a stored one of the same batch are equal bit
            for bit.
    """

    teacher: Teacher
    examples: Examples
    encoding: Encoding = field(default_factory=Encoding)

    def fetch(self, rows: Tensor, inputs: Tensor, numbers: Tensor) -> Signal:
        """See `Signals.fetch`."""
        answer = ask(self.teacher, inputs.cpu(), self.examples.keys[rows.cpu()])
        return self.encoding.decode(encoded(self.encoding, answer), answer.logits.shape[1]).to(inputs.device)

    def to(self, device: torch.device) -> "Live":
        """See `Signals.to`: a live answer follows its inputs."""
        return self


def encoded(encoding: Encoding, answer: Signal) -> dict[str, Tensor]:
    """A teacher's answer as the tensors of a shard."""
    keep = halved if encoding.labels.encoding != "fp32" else (lambda values: values)
    features = {TAP + tap: keep(values) for tap, values in answer.features.items()}
    return {**encoding.encode(answer.logits), **features}


def first_choices(signal: Signal) -> Tensor:
    """The class [N] that the teacher finds likeliest."""
    first_N = signal.logits.argmax(dim=1)
    return first_N if signal.top is None else signal.top.ids.gather(1, first_N[:, None])[:, 0]


def permuted_within(predicted_NV: Tensor, seed: int) -> Tensor:
    """For each view of each example another example [N, V] whose view is of the same class, all of them once."""
    generator = torch.Generator().manual_seed(seed)
    foreign_NV = torch.empty_like(predicted_NV)
    for view, predicted_N in enumerate(predicted_NV.unbind(dim=1)):
        for label in predicted_N.unique():
            rows = (predicted_N == label).nonzero()[:, 0]
            foreign_NV[rows, view] = rows[torch.randperm(len(rows), generator=generator)]
    return foreign_NV
