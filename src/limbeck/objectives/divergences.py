"""Divergences between rows of probabilities, from their logarithms or logits.

A class at -inf in both is absent: it adds nothing, to the value or to the gradient.

Dimension key: N examples, C classes.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def kl(log_a_NC: Tensor, log_b_NC: Tensor) -> Tensor:
    """KL(a||b) = sum_c a (log a - log b), [N], from log-probabilities; 0 log 0 = 0."""
    return (log_a_NC.exp() * log_ratio(log_a_NC, log_b_NC)).sum(dim=-1)


def known(at_NC: Tensor, values_N: Tensor, gradient_NC: Tensor, factor: float) -> Tensor:
    """The same values [N], with factor x gradient [N, C] as their gradient at the logits [N, C] they came from.

    For divergences whose gradient is known in closed form: taking it from there is quicker than walking back through
    every operation, and keeps more digits. It has no second derivative.
    """
    answer_N: Tensor = _Known.apply(at_NC, values_N, gradient_NC, factor)  # type: ignore[no-untyped-call]
    return answer_N


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, at_NC: Tensor, values_N: Tensor, gradient_NC: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(gradient_NC)
        ctx.factor = factor
        return values_N.view_as(values_N)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight_N: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient_NC,) = ctx.saved_tensors
        return gradient_NC * (ctx.factor * weight_N).unsqueeze(-1), None, None, None


class Probabilities(NamedTuple):
    """Rows of probabilities [N, C] and their logarithms, those of absent classes the lowest finite number."""

    plain: Tensor
    log: Tensor


def softmax(logits_NC: Tensor) -> Probabilities:
    """The probabilities of logits."""
    log_NC = F.log_softmax(logits_NC, dim=-1)
    # Of two classes at -inf the difference is then 0, as 0 log 0 asks, and not NaN.
    return Probabilities(log_NC.exp(), log_NC.clamp_(min=torch.finfo(log_NC.dtype).min))


def exact_kl(a_NC: Tensor, ratio_NC: Tensor, difference_NC: Tensor) -> Tensor:
    """KL(a||b) = sum_c a (log a - log b) + b - a, [N], without a gradient.

    The sum of b - a is nothing, but with it each class is at least 0, and the rounding of one logarithm is paid back:
    without it float32 has no digits left of T^2 KL at T = 100.

    Args:
        a_NC: a.
        ratio_NC: log a - log b.
        difference_NC: b - a.
    """
    return torch.addcmul(difference_NC, a_NC, ratio_NC).sum(dim=-1).clamp_(min=0.0)


def softened_kl(student_NC: Tensor, teacher_NC: Tensor, temperature: float) -> Tensor:
    """T^2 KL(p||q), [N], of p = softmax(t/T) and q = softmax(s/T); its gradient, T (q - p), in closed form."""
    with torch.no_grad():
        q, p = softmax(student_NC / temperature), softmax(teacher_NC / temperature)
        ratio_NC, difference_NC = p.log.sub_(q.log), q.plain.sub_(p.plain)
        values_N = temperature**2 * exact_kl(p.plain, ratio_NC, difference_NC)
    return known(student_NC, values_N, difference_NC, temperature)


def log_ratio(log_a_NC: Tensor, log_b_NC: Tensor) -> Tensor:
    """The difference log a - log b, [N, C]; 0 where a is 0."""
    # A class at -inf in both would give inf - inf: the difference is made finite before it is multiplied with a, or
    # the gradient is NaN although the value is right.
    return torch.where(log_a_NC == -math.inf, 0.0, log_a_NC - log_b_NC)


def cross_entropy(log_a_NC: Tensor, log_b_NC: Tensor) -> Tensor:
    """-sum_c a log b, [N], from log-probabilities; 0 log 0 = 0."""
    return -(log_a_NC.exp() * torch.where(log_a_NC == -math.inf, 0.0, log_b_NC)).sum(dim=-1)


def bernoulli_kl(a: Tensor, b: Tensor) -> Tensor:
    """KL(sigmoid(a)||sigmoid(b)) of each yes or no, from its logits, which may be infinite; of any shape."""
    # Where a rules an outcome out its term is 0, made so before it is multiplied: inf - inf would have no gradient.
    yes = torch.sigmoid(a) * torch.where(a == -math.inf, 0.0, F.logsigmoid(a) - F.logsigmoid(b))
    no = torch.sigmoid(-a) * torch.where(a == math.inf, 0.0, F.logsigmoid(-a) - F.logsigmoid(-b))
    return yes + no
