"""What a loss is made of: terms, the batch they speak of, and what their sums are divided by.

    loss = sum_k weight_k * (sum_n value_kn) / count_k

Dimension key: N examples of a micro-batch.
"""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from limbeck.objectives import Objective
from limbeck.signal import Signal
from limbeck.training.schedules import Schedule


@dataclass(frozen=True)
class TermSchedule:
    """What of a term changes over a fit: its weight, its objective's temperature; None where it stays."""

    weight: Schedule | None = None
    temperature: Schedule | None = None


@dataclass(frozen=True)
class Term:
    """One objective with its weight, under the name that metrics give it.

    Args:
        name: in metrics and records.
        weight: multiplies its value; where it changes, that of the first step.
        objective: what is asked of the student, likewise.
        schedule: what changes; None if nothing does.
    """

    name: str
    weight: float
    objective: Objective
    schedule: TermSchedule | None = None

    def at(self, step: int, steps: int) -> "Term":
        """The term at `step` (from 0) of `steps`: the first has a schedule's start, the last its end."""
        if self.schedule is None:
            return self
        share = step / max(1, steps - 1)
        weight, temperature = self.schedule.weight, self.schedule.temperature
        objective: Any = self.objective
        if temperature is not None:
            objective = replace(objective, temperature=temperature.at(share))
        return Term(self.name, self.weight if weight is None else weight.at(share), objective)


@dataclass(frozen=True)
class Batch:
    """A micro-batch.

    Args:
        inputs: what the student sees, [N, ...].
        labels: [N].
        signal: what the teacher said of it.
        partners: [N] the labels of what was mixed into each example; None where nothing is mixed.
        shares: [N] what of each is its own; None likewise.
    """

    inputs: Tensor
    labels: Tensor
    signal: Signal | None
    partners: Tensor | None = None
    shares: Tensor | None = None


@dataclass(frozen=True)
class Counts:
    """What the sums of one optimizer step are divided by.

    Args:
        examples: of the whole step.
        labelled: how many of them are labelled *in expectation* (examples x the labelled share of the training set).
            With the step's own number, a labelled example would weigh more the fewer of its kind its batch holds.
    """

    examples: float
    labelled: float

    def of(self, term: Term) -> float:
        """The count of one term: an objective that needs labels speaks of the labelled only."""
        return self.labelled if "labels" in term.objective.traits.needs else self.examples
