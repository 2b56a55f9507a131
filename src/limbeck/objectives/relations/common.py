"""What relations between the examples of a batch are made of: distances and dot products.

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


def vectors(student: Tensor, teacher: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Student's and teacher's features [N, ...] as [N, D], the teacher's a constant, both in at least float32.

    Raises:
        ValueError: different numbers of examples, or no dimension beside them.
    """
    student, teacher = beside(student, teacher, name)
    return student.flatten(1), teacher.flatten(1)


def in_full(x: Tensor) -> torch.autocast:
    """A block in which matrices are multiplied in their own precision, where the caller's autocast would halve it.

    In a backward pass too: it may be run inside the caller's block.
    """
    return torch.autocast(x.device.type, enabled=False)


def product(a_NM: Tensor, b_ML: Tensor) -> Tensor:
    """The product of two matrices in their own precision, as is its gradient."""
    products_NL: Tensor = _Product.apply(a_NM, b_ML)  # type: ignore[no-untyped-call]
    return products_NL


def gram(x_ND: Tensor) -> Tensor:
    """All dot products, [..., N, N], like `product`, with one product in the backward pass where autograd takes two."""
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


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a_NM: Tensor, b_ML: Tensor) -> Tensor:
        ctx.save_for_backward(a_NM, b_ML)
        with in_full(a_NM):
            return a_NM @ b_ML

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NL: Tensor) -> tuple[Tensor, Tensor]:
        a_NM, b_ML = ctx.saved_tensors
        with in_full(gradient_NL):
            return gradient_NL @ b_ML.T, a_NM.T @ gradient_NL


class _Gram(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor) -> Tensor:
        ctx.save_for_backward(x_ND)
        with in_full(x_ND):
            return x_ND @ x_ND.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NN: Tensor) -> Tensor:
        (x_ND,) = ctx.saved_tensors
        with in_full(gradient_NN):
            gradient_ND: Tensor = (gradient_NN + gradient_NN.mT) @ x_ND
        return gradient_ND


class _Distances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor) -> Tensor:
        wide_ND = x_ND - x_ND.mean(dim=0, dtype=torch.float64)
        norms_N = wide_ND.square().sum(dim=1)
        sums_NN = norms_N[:, None] + norms_N
        squares_NN = torch.addmm(sums_NN, wide_ND, wide_ND.T, alpha=-2).fill_diagonal_(math.inf)
        near_K2 = (squares_NN < sums_NN.mul_(NEAR)).triu_(1).nonzero()
        if len(near_K2):
            _mend(squares_NN, _unequal(squares_NN, near_K2, x_ND), x_ND)
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
        with in_full(wide_ND):
            gradient_ND = torch.addmm(weights_NN.sum(dim=1, keepdim=True) * wide_ND, weights_NN, wide_ND, alpha=-1)
        return gradient_ND.to(lengths_NN.dtype)


def _unequal(squares_NN: Tensor, near_K2: Tensor, x_ND: Tensor) -> Tensor:
    """Those of the near pairs that are not of equal examples; these are put at 0, both ways round."""
    _, which_N = torch.unique(x_ND, dim=0, return_inverse=True)
    equal_K = which_N[near_K2[:, 0]] == which_N[near_K2[:, 1]]
    i_K, j_K = near_K2[equal_K].unbind(1)
    squares_NN[i_K, j_K] = squares_NN[j_K, i_K] = 0.0
    return near_K2[~equal_K]


def _mend(squares_NN: Tensor, near_K2: Tensor, x_ND: Tensor) -> None:
    """Put the squared lengths of the differences in the place of those of near pairs, both ways round."""
    for i_K, j_K in (pairs_K2.unbind(1) for pairs_K2 in near_K2.split(NEAR_AT_ONCE // x_ND.shape[1] + 1)):
        squares_K = (x_ND[i_K].double() - x_ND[j_K]).square().sum(dim=1)
        squares_NN[i_K, j_K] = squares_NN[j_K, i_K] = squares_K
