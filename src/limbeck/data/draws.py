"""Draws from random bits: whole numbers, values of a range, and values looked up in tables.

Sums, products and roundings only, element by element, and tables made once in float64: so a draw has the same bits in
any batch and on any device.

Dimension key: N examples, K entries of a table.
"""

import math
from functools import cache

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

_FIELD = 21  # bits of randomness that one draw takes; three draws fit into 64
_ENTRIES = 4096  # equally likely values of a table: finer than 8-bit pixels, or the sides of an image, can show


def draw(bits: Tensor, field: int, outcomes: int | Tensor) -> Tensor:
    """One of 0 to outcomes - 1 for each example, [N], from its own part of the bits: 0, 1 or 2."""
    return (_part(bits, field) * outcomes).bitwise_right_shift(_FIELD)


def draw_one_of(bits: Tensor, outcomes: int) -> Tensor:
    """One of 0 to outcomes - 1 for each example, [N], from the upper 32 bits: outcomes may be as many."""
    upper = bits.bitwise_right_shift(32).bitwise_and(2**32 - 1)
    return (upper * outcomes).bitwise_right_shift(32)


def draw_between(bits: Tensor, field: int, low: float, high: float) -> Tensor:
    """A value between the two for each example, [N] float32, all equally likely."""
    shares: Tensor = (_part(bits, field).float() + 0.5) / 2**_FIELD
    return shares * (high - low) + low


def draw_from(bits: Tensor, field: int, table_K: Tensor) -> Tensor:
    """An entry of a table for each example, [N], all equally likely."""
    return table_K.to(bits.device)[draw(bits, field, len(table_K))]


@cache
def beta_quantiles(a: float) -> Tensor:
    """Beta(a, a) as equally likely values [K] float32."""
    return _table(betaincinv(a, a, _middles()))


@cache
def beta_roots(a: float) -> Tensor:
    """The square root of 1 minus `beta_quantiles`: the side of a square whose area is the rest."""
    return _table(np.sqrt(betaincinv(a, a, _middles())[::-1]))  # 1 minus a value of Beta(a, a) is its mirror


@cache
def uniform_roots(low: float) -> Tensor:
    """The square root of what is uniform between low and 1: the side of a square whose area is so."""
    return _table(np.sqrt(low + (1 - low) * _middles()))


@cache
def log_uniform_roots(bound: float) -> Tensor:
    """The square root of what is uniform in its logarithm between 1 / bound and bound."""
    return _table(np.exp(math.log(bound) * (_middles() - 0.5)))


def _part(bits: Tensor, field: int) -> Tensor:
    return bits.bitwise_right_shift(field * _FIELD).bitwise_and(2**_FIELD - 1)


def _middles() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return (np.arange(_ENTRIES) + 0.5) / _ENTRIES


def _table(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
