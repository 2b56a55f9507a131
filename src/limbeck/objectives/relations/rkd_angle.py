"""Relational knowledge distillation, angles: the shape of every triangle of examples.

Dimension key: N examples, B of them as vertices, D numbers of a vector.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from limbeck.objectives.base import TapObjective, Traits
from limbeck.objectives.relations.common import gram, unit, vectors

AT_ONCE = 2**22
"""Numbers of a [B, N, N] or [B, N, D] alive at a time, a few of them; a larger batch takes its vertices in parts."""


def rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over j, k of huber(a_s - a_t), a_ijk the cosine at i of the triangle i, j, k, Park 2019, arXiv 1904.05068.

    huber(x) = x^2 / 2 below 1 and |x| - 1/2 above. The mean is over all N^2 pairs, the degenerate ones with them: a
    side of no length has cosine 0 and no gradient. A large batch takes its vertices in parts and computes each
    again in the backward pass, so that neither N x N x D nor N x N x N numbers are ever alive.

    Args:
        student: [N, ...], taken as vectors.
        teacher: [N, ...], taken as constants, of any width.

    Returns:
        Values [N] without a unit, each of the whole batch: the values of two halves are not those of their union.

    Raises:
        ValueError: different numbers of examples.
    """
    student_ND, teacher_ND = vectors(student, teacher, "rkd-angle")
    count = len(student_ND)
    vertices = max(1, AT_ONCE // max(1, count * max(count, student_ND.shape[1], teacher_ND.shape[1])))
    if vertices >= count:
        return _at_vertices(student_ND, student_ND, teacher_ND, teacher_ND)
    parts = zip(student_ND.split(vertices), teacher_ND.split(vertices), strict=True)
    return torch.cat([_at_vertices_again(student_BD, student_ND, t_BD, teacher_ND) for student_BD, t_BD in parts])


@dataclass(frozen=True, kw_only=True)
class RKDAngle(TapObjective):
    """How far the angles between triples of the student's features are from those of the teacher's (`rkd_angle`)."""

    name: Literal["rkd-angle"] = "rkd-angle"

    traits: ClassVar[Traits] = Traits(
        needs=("features",),
        coupling="batch",
        zero_at_teacher=True,
        shift_invariant=False,
        paper="Park 2019, arXiv 1904.05068",
        formula="mean_jk huber(a_s - a_t), a_ijk = cosine of the angle at i between j and k",
        cost="N^3 D",
    )

    def values(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """Values [N] from features [N, ...]."""
        return rkd_angle(student, teacher)


def _at_vertices(student_BD: Tensor, student_ND: Tensor, teacher_BD: Tensor, teacher_ND: Tensor) -> Tensor:
    """Values [B] of the vertices [B, D] among all [N, D]."""
    pairs = ((student_BD, student_ND), (teacher_BD, teacher_ND))
    ours_BNN, theirs_BNN = (gram(unit(x_ND - x_BD[:, None])) for x_BD, x_ND in pairs)
    return F.smooth_l1_loss(ours_BNN, theirs_BNN, reduction="none").mean(dim=(1, 2))


def _at_vertices_again(*vertices_and_all: Tensor) -> Tensor:
    """The same, computed again where its gradient is asked for."""
    values_B: Tensor = checkpoint(_at_vertices, *vertices_and_all, use_reentrant=False, preserve_rng_state=False)
    return values_B
