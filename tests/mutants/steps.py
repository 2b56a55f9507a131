"""Spoilt training steps."""

import torch

from limbeck.objectives import UNLABELLED


def one_step(learner, batch, terms, divisors, *, scale=1.0, weights=None):
    """The real step with its divisors, scale and weights left open."""
    output = learner(batch.inputs)
    shares = [
        term.objective(output, batch.signal, batch.labels).sum() / divisor
        for term, divisor in zip(terms, divisors, strict=True)
    ]
    weights = [term.weight for term in terms] if weights is None else weights
    sum(scale * weight * share for weight, share in zip(weights, shares, strict=True)).backward()
    return torch.stack(shares).detach()


def mean_per_micro_batch(learner, batch, terms, counts, *, bf16=False):
    """torchtune's recipe: every micro-batch is divided by its own size."""
    hard_share = counts.labelled / counts.examples
    sizes = [len(batch.labels) * (hard_share if term.objective.traits.needs == ("labels",) else 1) for term in terms]
    return one_step(learner, batch, terms, sizes)


def divided_twice(learner, batch, terms, counts, *, bf16=False):
    """torchtune's recipe: by the count of the step, and once more; the value it reports is right."""
    divisors = [counts.of(term) for term in terms]
    return one_step(learner, batch, terms, divisors, scale=1 / counts.examples)


def labelled_of_the_micro_batch(learner, batch, terms, counts, *, bf16=False):
    """F.cross_entropy's mean: divided by the labels that happen to be in the micro-batch, 0 / 0 without any."""
    labelled = (batch.labels != UNLABELLED).sum()
    hard = [term.objective.traits.needs == ("labels",) for term in terms]
    return one_step(learner, batch, terms, [labelled if is_hard else counts.examples for is_hard in hard])


def labelled_divided_by_all(learner, batch, terms, counts, *, bf16=False):
    """A mean over all examples: at 1 % labels the hard loss weighs a hundredth of its alpha."""
    return one_step(learner, batch, terms, [counts.examples] * len(terms))


def weights_swapped(learner, batch, terms, counts, *, bf16=False):
    """attention-transfer, DeiT, KD_Lib against torchdistill, Keras: alpha on the other term."""
    weights = [term.weight for term in reversed(terms)]
    return one_step(learner, batch, terms, [counts.of(term) for term in terms], weights=weights)


def weights_forgotten(learner, batch, terms, counts, *, bf16=False):
    """The terms are added as they are."""
    return one_step(learner, batch, terms, [counts.of(term) for term in terms], weights=[1.0] * len(terms))


def gradients_zeroed_each_time(learner, batch, terms, counts, *, bf16=False):
    """The classic accumulation defect: only the last micro-batch counts."""
    learner.zero_grad()
    return one_step(learner, batch, terms, [counts.of(term) for term in terms])


def weighted_values(learner, batch, terms, counts, *, bf16=False):
    """What is logged as the distillation loss already holds its weight."""
    shares = one_step(learner, batch, terms, [counts.of(term) for term in terms])
    return shares * torch.tensor([term.weight for term in terms])


def teacher_trained_too(learner, batch, terms, counts, *, bf16=False):
    """A live teacher called without no_grad: backward goes through it as well."""
    values = one_step(learner, batch, terms, [counts.of(term) for term in terms])
    if batch.signal is not None and batch.signal.logits.requires_grad:
        batch.signal.logits.square().sum().backward()
    return values


KILLED_BY = {
    mean_per_micro_batch: {"adds_up_over_micro_batches"},
    divided_twice: {"is_the_gradient_of_the_mean"},
    labelled_of_the_micro_batch: {
        "adds_up_over_micro_batches",
        "is_the_gradient_of_the_mean",
        "returns_the_value_of_each_term",
        "gets_nothing_from_the_unlabelled",
    },
    labelled_divided_by_all: {"is_the_gradient_of_the_mean", "returns_the_value_of_each_term"},
    weights_swapped: {"is_the_gradient_of_the_mean"},
    weights_forgotten: {"is_the_gradient_of_the_mean"},
    gradients_zeroed_each_time: {"adds_up_over_micro_batches"},
    weighted_values: {"returns_the_value_of_each_term"},
    teacher_trained_too: {"leaves_the_teacher_alone"},
}
