"""Relational knowledge distillation, distances: which examples the teacher finds near, and which far.

Dimension key: N examples, D numbers of a vector.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.objectives.base import TapObjective, Traits
from limbeck.objectives.directions import SHORTEST
from limbeck.objectives.relations.common import distances, vectors


def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over j of huber(d_s - d_t), d_ij = |x_i - x_j| by its mean in the batch, Park 2019, arXiv 1904.05068.

    huber(x) = x^2 / 2 below 1 and |x| - 1/2 above. The mean is that of the positive distances, and the student's
    carries gradient; the mean over j counts the example itself. Two equal examples are at a distance of 0 that gives
    no gradient.

    Args:
        student: [N, ...], taken as vectors.
        teacher: [N, ...], taken as constants, of any width.

    Returns:
        Values [N] without a unit, each of the whole batch: the values of two halves are not those of their union.

    Raises:
        ValueError: different numbers of examples.
    """
    student_ND, teacher_ND = vectors(student, teacher, "rkd-distance")
    apart_NN = F.smooth_l1_loss(_normalised(student_ND), _normalised(teacher_ND), reduction="none")
    return apart_NN.mean(dim=1)


@dataclass(frozen=True, kw_only=True)
class RKDDistance(TapObjective):
    """How far the distances between the student's features are from those between the teacher's (`rkd_distance`).

    Each in units of its mean in the batch.
    """

    name: Literal["rkd-distance"] = "rkd-distance"

    traits: ClassVar[Traits] = Traits(
        needs=("features",),
        coupling="batch",
        zero_at_teacher=True,
        shift_invariant=False,
        paper="Park 2019, arXiv 1904.05068",
        formula="mean_j huber(d_s - d_t), d_ij = |x_i - x_j| / mean of the positive",
        cost="N^2 D",
    )

    def values(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """Values [N] from features [N, ...]."""
        return rkd_distance(student, teacher)


def _normalised(x_ND: Tensor) -> Tensor:
    """Distances [N, N] by the mean of the positive ones; 0 where none is."""
    lengths_NN = distances(x_ND)
    mean = lengths_NN.sum() / torch.count_nonzero(lengths_NN).clamp_min(1)
    return lengths_NN / mean.clamp_min(SHORTEST)
