"""Relational knowledge distillation, angles: the shape of every triangle of examples.

Dimension key: N examples, B of them as vertices, D numbers of a vector.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from limbeck.objectives.base import TapObjective, Traits
from limbeck.objectives.directions import lengths, unit
from limbeck.objectives.relations.common import gram, in_full, vectors

WHOLE, PART = 2**22, 2**20
"""Numbers of [N, N, N] or [N, N, D] up to which a batch is taken whole, and of [B, N, N] or [B, N, D] in a part."""


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
    count, dtype = len(student_ND), student_ND.dtype
    if max(student_ND.shape[1], teacher_ND.shape[1]) > count:
        student_ND, teacher_ND = _turned(student_ND), _turned(teacher_ND)
    numbers = count * max(count, student_ND.shape[1], teacher_ND.shape[1])
    if count * numbers <= WHOLE:
        return _at_vertices(student_ND, student_ND, teacher_ND, teacher_ND).to(dtype)
    teacher_ND = teacher_ND.to(student_ND.dtype)
    values_N: Tensor = _InParts.apply(student_ND, teacher_ND, max(1, PART // numbers))  # type: ignore[no-untyped-call]
    return values_N.to(dtype)


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
        cost="N^3 min(N, D) + N^2 D",
    )

    def values(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """Values [N] from features [N, ...]."""
        return rkd_angle(student, teacher)


def _turned(x_ND: Tensor) -> Tensor:
    """The same points in float64 and in no more than N dimensions, turned: no angle between them changes.

    Equal points stay equal to the last bit, as a side of no length has no direction and one of 1e-16 has. The
    direction of a side of length d is right to a share e R / d, R the largest distance and e float64's rounding.
    """
    turned_NM: Tensor = _Turned.apply(x_ND)  # type: ignore[no-untyped-call]
    return turned_NM


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor) -> Tensor:
        distinct_UD, which_N = torch.unique(x_ND, dim=0, return_inverse=True)
        centred_UD = distinct_UD - distinct_UD.mean(dim=0, keepdim=True, dtype=torch.float64)
        axes_DM: Tensor = torch.linalg.qr(centred_UD.T).Q
        ctx.save_for_backward(axes_DM)
        ctx.dtype = x_ND.dtype
        turned_NM: Tensor = (centred_UD @ axes_DM)[which_N]
        return turned_NM

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NM: Tensor) -> Tensor:
        """With the axes held fixed, which is exact: all sides lie in their span."""
        (axes_DM,) = ctx.saved_tensors
        gradient_ND: Tensor = (gradient_NM @ axes_DM.T).to(ctx.dtype)
        return gradient_ND


def _at_vertices(student_BD: Tensor, student_ND: Tensor, teacher_BD: Tensor, teacher_ND: Tensor) -> Tensor:
    """Values [B] of the vertices [B, D] among all [N, D]."""
    pairs = ((student_BD, student_ND), (teacher_BD, teacher_ND))
    ours_BNN, theirs_BNN = (gram(unit(x_ND - x_BD[:, None])) for x_BD, x_ND in pairs)
    return F.smooth_l1_loss(ours_BNN, theirs_BNN, reduction="none").mean(dim=(1, 2))


class _InParts(torch.autograd.Function):
    """The values of all vertices, a few at a time, in tensors that every part uses anew.

    Memory taken and freed for each part (`torch.utils.checkpoint`) is not all used again by the allocator: at N = 1024
    the process grew by 4 GiB.
    """

    @staticmethod
    def forward(ctx: Any, student_ND: Tensor, teacher_ND: Tensor, vertices: int) -> Tensor:
        ctx.save_for_backward(student_ND, teacher_ND)
        ctx.vertices = vertices
        values_N = student_ND.new_empty(len(student_ND))
        with in_full(student_ND):
            for at, _, apart_BNN, spare_BNN, _ in _parts(student_ND, teacher_ND, vertices):
                clipped_BNN = torch.clamp(apart_BNN.abs_(), max=1.0, out=spare_BNN)
                values_N[at] = apart_BNN.sub_(clipped_BNN, alpha=0.5).mul_(clipped_BNN).mean(dim=(1, 2))
        return values_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_N: Tensor) -> tuple[Tensor, None, None]:
        student_ND, teacher_ND = ctx.saved_tensors
        with in_full(gradient_N):
            return _gradient(student_ND, teacher_ND, ctx.vertices, gradient_N), None, None


def _gradient(student_ND: Tensor, teacher_ND: Tensor, vertices: int, gradient_N: Tensor) -> Tensor:
    """That of the values' sum weighted with gradient_N, at the student's points [N, D]."""
    gradient_ND = torch.zeros_like(student_ND)
    spare_BND = student_ND.new_empty(vertices, *student_ND.shape)
    for at, unit_BND, apart_BNN, _, lengths_BN1 in _parts(student_ND, teacher_ND, vertices):
        # Of a cosine and of the one with j and k exchanged, which is the same: twice.
        slope_BNN = apart_BNN.clamp_(-1.0, 1.0).mul_(gradient_N[at, None, None] * (2 / len(student_ND) ** 2))
        along_BND = torch.bmm(slope_BNN, unit_BND, out=spare_BND[: len(unit_BND)])
        # What would change the length of a side is taken away, in the place of the unit vectors.
        along_BN1 = torch.linalg.vecdot(unit_BND, along_BND)[..., None]
        side_BND = along_BND.sub_(unit_BND.mul_(along_BN1)).div_(lengths_BN1)
        gradient_ND += side_BND.sum(dim=0)
        gradient_ND[at] -= side_BND.sum(dim=1)
    return gradient_ND


def _parts(
    student_ND: Tensor, teacher_ND: Tensor, vertices: int
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor, Tensor]]:
    """Of each part: its vertices, the student's unit sides, a_s - a_t, as much spare room, the student's lengths."""
    count = len(student_ND)
    ours_BND, theirs_BND = (x_ND.new_empty(vertices, *x_ND.shape) for x_ND in (student_ND, teacher_ND))
    ours_BNN, theirs_BNN = (student_ND.new_empty(vertices, count, count) for _ in range(2))
    for first in range(0, count, vertices):
        at = slice(first, min(first + vertices, count))
        size = at.stop - first
        lengths_BN1 = _cosines(student_ND, at, ours_BND[:size], ours_BNN[:size])
        _cosines(teacher_ND, at, theirs_BND[:size], theirs_BNN[:size])
        yield at, ours_BND[:size], ours_BNN[:size].sub_(theirs_BNN[:size]), theirs_BNN[:size], lengths_BN1


def _cosines(x_ND: Tensor, at: slice, unit_BND: Tensor, cosines_BNN: Tensor) -> Tensor:
    """Fill the unit sides at these vertices, and the cosines between them; gives the lengths, inf for 0."""
    torch.sub(x_ND, x_ND[at, None], out=unit_BND)
    lengths_BN1 = lengths(unit_BND)
    unit_BND.div_(lengths_BN1)
    torch.bmm(unit_BND, unit_BND.mT, out=cosines_BNN)
    return lengths_BN1
