"""Logits brought to one size.

Dimension key: N examples, C classes.
"""

import math

import torch
from torch import Tensor

from limbeck.signal import raised

LEAST_SPREAD = 1e-3
"""Standard deviations below this are not divided away: at a constant row the gradient would be of order 1e7."""


def standardised(logits_NC: Tensor) -> Tensor:
    """Z(x) = (x - mean) / (1e-7 + std) over the classes of each row, std with C - 1 (Sun 2024, arXiv 2403.01427).

    A class at -inf is absent: mean and standard deviation are those of the others, and it stays at -inf.

    Args:
        logits_NC: [..., C] with C >= 3; of two classes nothing but their order would be left.

    Raises:
        ValueError: fewer than three classes.
    """
    logits_NC = raised(logits_NC)
    if logits_NC.shape[-1] < 3:
        raise ValueError(
            f"standardise expected three classes or more, got {logits_NC.shape[-1]}: of two it leaves only their order"
        )
    absent_NC = logits_NC == -math.inf
    count_N1 = (~absent_NC).sum(dim=-1, keepdim=True).to(logits_NC.dtype)
    mean_N1 = torch.where(absent_NC, 0.0, logits_NC).sum(dim=-1, keepdim=True) / count_N1
    centred_NC = torch.where(absent_NC, 0.0, logits_NC - mean_N1)
    size_N1: Tensor = torch.linalg.vector_norm(centred_NC, dim=-1, keepdim=True)
    spread_N1 = (size_N1 * (count_N1 - 1).clamp_min(1).rsqrt()).clamp_min(LEAST_SPREAD)
    return torch.where(absent_NC, -math.inf, centred_NC / (1e-7 + spread_N1))
