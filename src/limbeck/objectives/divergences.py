"""Divergences between rows of probabilities, from their logarithms.

Dimension key: N examples, C classes.
"""

import math

import torch
from torch import Tensor


def kl(log_a_NC: Tensor, log_b_NC: Tensor) -> Tensor:
    """KL(a||b) = sum_c a (log a - log b), [N], from log-probabilities; 0 log 0 = 0."""
    # A class at -inf in both would give inf - inf: the difference is made finite before the product, or the
    # gradient is NaN although the value is right.
    absent_NC = log_a_NC == -math.inf
    difference_NC = torch.where(absent_NC, 0.0, log_a_NC - log_b_NC)
    return (log_a_NC.exp() * difference_NC).sum(dim=-1)
