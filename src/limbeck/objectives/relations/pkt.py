"""Probabilistic knowledge transfer: the likelihood that the teacher picks one example as the neighbour of another.

Dimension key: N examples, D numbers of a vector.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from limbeck.objectives.base import TapObjective, Traits
from limbeck.objectives.directions import unit
from limbeck.objectives.relations.common import gram, vectors

EPSILON = 1e-7
"""The published code's, in the length of a vector and in the ratio of two probabilities."""


def pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over j of p_t log((p_t + e) / (p_s + e)), Passalis and Tefas 2018, arXiv 1803.10837.

    p_ij = k_ij / sum_j k_ij with k = 1 + cosine, the example itself with the others, and e = 1e-7. A mean, as
    in the published code: a row's KL divergence is N times as much. Through e a value may be below 0, by e times a
    few. An example whose features are all 0 has cosine 0 with all and gives no gradient.

    Args:
        student: [N, ...], taken as vectors.
        teacher: [N, ...], taken as constants, of any width.

    Returns:
        Values [N] in nats, each of the whole batch: the values of two halves are not those of their union.

    Raises:
        ValueError: different numbers of examples.
    """
    student_ND, teacher_ND = vectors(student, teacher, "pkt")
    q_NN, p_NN = _neighbours(student_ND), _neighbours(teacher_ND)
    # log1p keeps the digits of a ratio near 1, where the two agree.
    return (p_NN * torch.log1p((p_NN - q_NN) / (q_NN + EPSILON))).mean(dim=1)


@dataclass(frozen=True, kw_only=True)
class PKT(TapObjective):
    """The divergence of the student's probabilities of being neighbours from the teacher's (`pkt`)."""

    name: Literal["pkt"] = "pkt"

    traits: ClassVar[Traits] = Traits(
        needs=("features",),
        coupling="batch",
        zero_at_teacher=True,
        non_negative=False,
        shift_invariant=False,
        slack=1e-4,  # Of the gradient: about sqrt(e) / N where a cosine is nearly -1.
        paper="Passalis and Tefas 2018, arXiv 1803.10837",
        formula="mean_j p_t log(p_t / p_s), p_ij = (1 + cos_ij) / sum_j (1 + cos_ij)",
        cost="N^2 D",
    )

    def values(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """Values [N] in nats from features [N, ...]."""
        return pkt(student, teacher)


def _neighbours(x_ND: Tensor) -> Tensor:
    """p, [N, N]."""
    # In float32 two opposite vectors may have a cosine below -1, and the logarithm of less than -e is NaN.
    unit_ND = unit(x_ND, added=EPSILON)
    kernel_NN = gram(unit_ND).add_(1).relu_()
    return kernel_NN / kernel_NN.sum(dim=1, keepdim=True)
