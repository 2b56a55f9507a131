"""Divergences between rows of probabilities, from their logarithms or logits.

A class at -inf in both is absent: it adds nothing, to the value or to the gradient.

Dimension key: N examples, C classes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def kl(log_a_NC: Tensor, log_b_NC: Tensor) -> Tensor:
    """KL(a||b) = sum_c a (log a - log b), [N], from log-probabilities; 0 log 0 = 0."""
    return (log_a_NC.exp() * log_ratio(log_a_NC, log_b_NC)).sum(dim=-1)


def log_ratio(log_a_NC: Tensor, log_b_NC: Tensor) -> Tensor:
    """The difference log a - log b, [N, C]; 0 where a is 0."""
    # A class at -inf in both would give inf - inf: the difference is made finite before it is multiplied with a, or
    # the gradient is NaN although the value is right.
    return torch.where(log_a_NC == -math.inf, 0.0, log_a_NC - log_b_NC)


def cross_entropy(log_a_NC: Tensor, log_b_NC: Tensor) -> Tensor:
    """-sum_c a log b, [N], from log-probabilities; 0 log 0 = 0."""
    return -(log_a_NC.exp() * torch.where(log_a_NC == -math.inf, 0.0, log_b_NC)).sum(dim=-1)


def bernoulli_kl(a: Tensor, b: Tensor) -> Tensor:
    """KL(sigmoid(a)||sigmoid(b)) of each yes or no, from its logits; of any shape."""
    absent = a == -math.inf
    a, b = torch.where(absent, 0.0, a), torch.where(absent, 0.0, b)
    # log sigmoid(-x) = log sigmoid(x) - x brings both outcomes' terms to this.
    return F.logsigmoid(a) - F.logsigmoid(b) - torch.sigmoid(-a) * (a - b)
