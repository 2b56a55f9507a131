"""Lengths and directions of vectors, which may be 0.

Dimension key: N vectors, D numbers of a vector.
"""

import math

import torch
from torch import Tensor

SHORTEST = 1e-30
"""A shorter vector has no direction: in float32 its gradient would not be finite."""


def unit(x_ND: Tensor, *, added: float = 0.0) -> Tensor:
    """Vectors x / (|x| + added) along the last dimension; 0 and without a gradient where x is 0, of no direction.

    Published code divides by 1e-12 there, a gradient with which a dead ReLU rules the step.
    """
    return x_ND / lengths(x_ND, added=added)


def lengths(x_ND: Tensor, *, dim: int = -1, added: float = 0.0) -> Tensor:
    """|x| + added along a dimension, which is kept as 1; infinite where x is 0."""
    length_N1: Tensor = torch.linalg.vector_norm(x_ND, dim=dim, keepdim=True)
    return (length_N1 + added if added else length_N1).masked_fill(length_N1 < SHORTEST, math.inf)
