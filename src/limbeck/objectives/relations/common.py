"""What relations between the examples of a batch are made of: distances, dot products, directions.

Features of any shape are one vector for each example; the student's and the teacher's need not be as wide.

Dimension key: N examples, D numbers of a vector, K pairs of examples; L, M any.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from limbeck.objectives.pairing import beside

NEAR = 1e-4
"""A squared distance below this share of |x|^2 + |y|^2 is taken from the difference itself."""

NEAR_AT_ONCE = 2**22
"""Numbers of differences alive at a time."""

LEAST_NORM = 1e-30
"""A shorter vector has no direction: in float32 its gradient would not be finite."""


def vectors(student: Tensor, teacher: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Student's and teacher's features [N, ...] as [N, D], the teacher's a constant, both in at least float32.

    Raises:
        ValueError: different numbers of examples, or no dimension beside them.
    """
    student, teacher = beside(student, teacher, name)
    return student.flatten(1), teacher.flatten(1)


def unit(x_ND: Tensor, *, added: float = 0.0) -> Tensor:
    """Vectors x / (|x| + added) along the last dimension; 0 and without a gradient where x is 0, of no direction.

    Published code divides by 1e-12 there, a gradient with which a dead ReLU rules the step.
    """
    return x_ND / lengths(x_ND, added=added)


def lengths(x_ND: Tensor, *, added: float = 0.0) -> Tensor:
    """|x| + added, [..., N, 1]; infinite where x is 0."""
    length_N1: Tensor = torch.linalg.vector_norm(x_ND, dim=-1, keepdim=True)
    return (length_N1 + added if added else length_N1).masked_fill(length_N1 < LEAST_NORM, math.inf)


def product(a_NM: Tensor, b_ML: Tensor) -> Tensor:
    """The product of two matrices in their own precision, also where the caller's autocast would halve it."""
    if not torch.is_autocast_enabled(a_NM.device.type):
        return a_NM @ b_ML
    with torch.autocast(a_NM.device.type, enabled=False):
        return a_NM @ b_ML


def gram(x_ND: Tensor) -> Tensor:
    """All dot products, [B, N, N], with one product of matrices in the backward pass where autograd takes two."""
    dots: Tensor = _Gram.apply(x_ND)  # type: ignore[no-untyped-call]
    return dots


def distances(x_ND: Tensor) -> Tensor:
    """All Euclidean distances, [N, N], right to the last digits; without a gradient where they are 0.

    |x|^2 + |y|^2 - 2 x.y loses digits where |x - y| is small beside |x|: in float32 all of them, far from the origin.
    So the mean is taken away first, sums are in float64, and pairs that are near even so are taken from their
    differences, which costs K D for K such pairs. No [N, N, D] is made.
    The gradient is right to a share e R / d, R the largest distance and d the smallest, e float64's rounding, or the
    features' own where no pair is near.
    """
    lengths_NN: Tensor = _Distances.apply(x_ND)  # type: ignore[no-untyped-call]
    return lengths_NN


class _Gram(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor) -> Tensor:
        ctx.save_for_backward(x_ND)
        return product(x_ND, x_ND.mT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NN: Tensor) -> Tensor:
        (x_ND,) = ctx.saved_tensors
        return product(gradient_NN + gradient_NN.mT, x_ND)


class _Distances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor) -> Tensor:
        wide_ND = x_ND - x_ND.mean(dim=0, dtype=torch.float64)
        norms_N = wide_ND.square().sum(dim=1)
        sums_NN = norms_N[:, None] + norms_N
        squares_NN = torch.addmm(sums_NN, wide_ND, wide_ND.T, alpha=-2).fill_diagonal_(math.inf)
        near_K2 = (squares_NN < sums_NN.mul_(NEAR)).nonzero()
        if len(near_K2):
            _mend(squares_NN, near_K2, x_ND)
        else:
            # Without near pairs the sums of the backward pass lose no digits that the features have.
            wide_ND = wide_ND.to(x_ND.dtype)
        lengths_NN = squares_NN.fill_diagonal_(0.0).sqrt_().to(x_ND.dtype)
        ctx.save_for_backward(wide_ND, lengths_NN)
        return lengths_NN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NN: Tensor) -> Tensor:
        """sum_j w_ij (x_i - x_j) with w = gradient / distance, of both (i, j) and (j, i)."""
        wide_ND, lengths_NN = ctx.saved_tensors
        one_way_NN = torch.where(lengths_NN > 0, gradient_NN / lengths_NN, 0.0)
        weights_NN = (one_way_NN + one_way_NN.T).to(wide_ND.dtype)
        gradient_ND = torch.addmm(weights_NN.sum(dim=1, keepdim=True) * wide_ND, weights_NN, wide_ND, alpha=-1)
        return gradient_ND.to(lengths_NN.dtype)


def _mend(squares_NN: Tensor, near_K2: Tensor, x_ND: Tensor) -> None:
    """Put the squared lengths of the differences in the place of those of near pairs."""
    for i_K, j_K in (pairs_K2.unbind(1) for pairs_K2 in near_K2.split(NEAR_AT_ONCE // x_ND.shape[1] + 1)):
        squares_NN[i_K, j_K] = (x_ND[i_K].double() - x_ND[j_K]).square().sum(dim=1)
