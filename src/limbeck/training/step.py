"""The training step: one gradient, divided once.

    loss = sum_k weight_k * (sum_n value_kn) / count_k

Objectives give one value per example and never reduce; this is the only place that divides. The counts are those of
the whole optimizer step, over all its micro-batches and ranks, and known before it starts: so micro-batches add up
to the gradient of one batch, ranks to that of one process, and nothing but gradients has to be sent.

Dimension key: N examples of a micro-batch, C classes, K terms.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from limbeck.training.learner import Learner
from limbeck.training.loss import Batch, Counts, Term
from limbeck.training.world import World


def add_gradients(
    learner: Learner, batch: Batch, terms: Sequence[Term], counts: Counts, *, bf16: bool = False
) -> Tensor:
    """Add a micro-batch's share of the gradient to every parameter; returns its share of each term's value [K]."""
    with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=bf16):
        output = learner(batch.inputs)
    shares_K = [learner.values(term, output, batch).sum() / counts.of(term) for term in terms]
    torch.stack([term.weight * share for term, share in zip(terms, shares_K, strict=True)]).sum().backward()
    return torch.stack(shares_K).detach()


def train_step(
    learner: Learner,
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
    values_K = sum(add_gradients(learner, batch, terms, counts, bf16=bf16) for batch in batches)
    assert isinstance(values_K, Tensor), "a step has at least one micro-batch"
    values_K = world.sum_gradients(learner, values_K)
    if clip is not None:
        nn.utils.clip_grad_norm_(learner.parameters(), clip)
    optimizer.step()
    return values_K
