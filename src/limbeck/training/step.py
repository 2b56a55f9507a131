"""The training step: one gradient, divided once.

    loss = sum_k weight_k * (sum_n value_kn) / count_k

Objectives give one value per example and never reduce; this is the only place that divides. The counts are those of
the whole optimizer step, over all its micro-batches and ranks, and known before it starts: so micro-batches add up
to the gradient of one batch, ranks to that of one process, and nothing but gradients has to be sent.

Dimension key: N examples of a micro-batch, C classes, K terms.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limbeck.objectives import Objective
from limbeck.signal import Signal, raised
from limbeck.training.world import World


@dataclass(frozen=True)
class Term:
    """One objective with its weight, under the name that metrics give it."""

    name: str
    weight: float
    objective: Objective


@dataclass(frozen=True)
class Batch:
    """A micro-batch: what the student sees [N, ...], its labels [N], what the teacher said of it."""

    inputs: Tensor
    labels: Tensor
    signal: Signal | None


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
        """The count of one term: a hard-label objective speaks of the labelled only."""
        return self.labelled if term.objective.traits.needs == "labels" else self.examples


def add_gradients(
    student: nn.Module, batch: Batch, terms: Sequence[Term], counts: Counts, *, bf16: bool = False
) -> Tensor:
    """Add a micro-batch's share of the gradient to every parameter; returns its share of each term's value [K]."""
    with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=bf16):
        logits_NC = student(batch.inputs)
    output = Signal(raised(logits_NC))
    shares_K = [term.objective(output, batch.signal, batch.labels).sum() / counts.of(term) for term in terms]
    torch.stack([term.weight * share for term, share in zip(terms, shares_K, strict=True)]).sum().backward()
    return torch.stack(shares_K).detach()


def train_step(
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    terms: Sequence[Term],
    counts: Counts,
    *,
    world: World,
    bf16: bool = False,
    clip: float | None = None,
) -> Tensor:
    """One optimizer step over this rank's micro-batches; returns the value of each term over the whole step [K]."""
    optimizer.zero_grad()
    values_K = sum(add_gradients(student, batch, terms, counts, bf16=bf16) for batch in batches)
    assert isinstance(values_K, Tensor), "a step has at least one micro-batch"
    values_K = world.sum_gradients(student, values_K)
    if clip is not None:
        nn.utils.clip_grad_norm_(student.parameters(), clip)
    optimizer.step()
    return values_K
