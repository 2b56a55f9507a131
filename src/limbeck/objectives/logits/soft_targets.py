"""The soft-label objective, `distillation_loss`: four divergences of soft probabilities.

Dimension key: N examples, C classes.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from limbeck.objectives.base import LogitObjective, Traits
from limbeck.objectives.checks import check_temperature
from limbeck.objectives.divergences import kl
from limbeck.objectives.pairing import paired

Divergence = Literal["forward-kl", "reverse-kl", "jsd", "normalised-jsd", "total-variation"]
MIXED = ("jsd", "normalised-jsd")
"""The divergences that have a beta."""


def kd(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """T^2 KL(p||q) with p = softmax(t/T) and q = softmax(s/T), Hinton, Vinyals and Dean 2015, arXiv 1503.02531.

    The gradient at the student's logits is T (q - p), and is taken in this form; it has no second derivative.

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C], taken as constants.
        temperature: T.

    Returns:
        Values [...] in nats, one per example.

    Raises:
        ValueError: logits of different shapes.
    """
    student_NC, teacher_NC = paired(student_logits, teacher_logits, "kd")
    values_N: Tensor = _ForwardKl.apply(student_NC, teacher_NC, temperature)  # type: ignore[no-untyped-call]
    return values_N


class _ForwardKl(torch.autograd.Function):
    """`kd` with its gradient in closed form: walking back through every operation takes half as long again."""

    @staticmethod
    def forward(ctx: Any, student_NC: Tensor, teacher_NC: Tensor, temperature: float) -> Tensor:
        log_q_NC = F.log_softmax(student_NC / temperature, dim=-1)
        log_p_NC = F.log_softmax(teacher_NC / temperature, dim=-1)
        p_NC = log_p_NC.exp()
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(log_q_NC.exp().sub_(p_NC))
            ctx.temperature = temperature
        # A class at -inf in both would give inf - inf: with the lowest finite logarithms it gives 0.
        lowest = torch.finfo(p_NC.dtype).min
        terms_NC = log_p_NC.clamp_(min=lowest).sub_(log_q_NC.clamp_(min=lowest)).mul_(p_NC)
        return terms_NC.sum(dim=-1).mul_(temperature**2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_N: Tensor) -> tuple[Tensor, None, None]:
        (difference_NC,) = ctx.saved_tensors
        return difference_NC * (ctx.temperature * gradient_N).unsqueeze(-1), None, None


def reverse_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """T^2 KL(q||p), Gu 2024, arXiv 2306.08543; arguments and values as of `kd`."""
    log_q_NC, log_p_NC = _softened(student_logits, teacher_logits, temperature, "reverse_kl")
    return temperature**2 * kl(log_q_NC, log_p_NC)


def jsd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    beta: float = 0.5,
    normalised: bool = False,
) -> Tensor:
    """T^2 [beta KL(p||m) + (1 - beta) KL(q||m)], m = beta p + (1 - beta) q, Agarwal 2024, arXiv 2306.13649, eq. 1.

    At beta 0 it is defined as T^2 KL(p||q), and at 1 as T^2 KL(q||p). Between, it tends to 0 at both ends, so that
    it jumps there: 0.00112 at beta 0.001 can be 1.125 at beta 0. Normalised it does not, but below beta 0.001
    (above 0.999) it loses digits in float32, as the divisor is that small.

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C], taken as constants.
        temperature: T.
        beta: the teacher's share of m, 0 to 1.
        normalised: divide by beta (1 - beta), which makes it continuous from KL(p||q) at 0 to KL(q||p) at 1.

    Returns:
        Values [...] in nats, one per example.

    Raises:
        ValueError: logits of different shapes.
    """
    if beta == 0.0:
        return kd(student_logits, teacher_logits, temperature=temperature)
    if beta == 1.0:
        return reverse_kl(student_logits, teacher_logits, temperature=temperature)
    log_q_NC, log_p_NC = _softened(student_logits, teacher_logits, temperature, "jsd")
    # Of two -inf logaddexp has no gradient: an absent class gets the lowest finite logarithm instead.
    lowest = torch.finfo(log_q_NC.dtype).min / 2
    log_q_NC, log_p_NC = log_q_NC.clamp_min(lowest), log_p_NC.clamp_min(lowest)
    log_m_NC = torch.logaddexp(log_q_NC + math.log1p(-beta), log_p_NC + math.log(beta))
    values_N = beta * kl(log_p_NC, log_m_NC) + (1 - beta) * kl(log_q_NC, log_m_NC)
    return temperature**2 / (beta * (1 - beta) if normalised else 1.0) * values_N


def total_variation(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """T^2 1/2 sum_c |q - p|, Wen 2023, arXiv 2307.15190; arguments and values as of `kd`.

    Its gradient jumps where q = p in a class and is 0 there, and grows with T.
    """
    student_NC, teacher_NC = paired(student_logits, teacher_logits, "total_variation")
    q_NC, p_NC = F.softmax(student_NC / temperature, dim=-1), F.softmax(teacher_NC / temperature, dim=-1)
    return 0.5 * temperature**2 * (q_NC - p_NC).abs().sum(dim=-1)


def _traits(paper: str, formula: str, *, smooth: bool = True) -> Traits:
    return Traits(needs=("logits",), zero_at_teacher=True, smooth=smooth, paper=paper, formula=formula, cost="N C")


TRAITS: dict[Divergence, Traits] = {
    "forward-kl": _traits(
        "Hinton, Vinyals and Dean 2015, arXiv 1503.02531", "T^2 KL(p || q), p = softmax(t/T), q = softmax(s/T)"
    ),
    "reverse-kl": _traits("Gu 2024, arXiv 2306.08543", "T^2 KL(q || p), p = softmax(t/T), q = softmax(s/T)"),
    "jsd": _traits(
        "Agarwal 2024, arXiv 2306.13649", "T^2 [beta KL(p || m) + (1 - beta) KL(q || m)], m = beta p + (1 - beta) q"
    ),
    "normalised-jsd": _traits(
        "Agarwal 2024, arXiv 2306.13649",
        "T^2 [KL(p || m) / (1 - beta) + KL(q || m) / beta], m = beta p + (1 - beta) q",
    ),
    "total-variation": _traits(
        "Wen 2023, arXiv 2307.15190", "T^2 1/2 sum |q - p|, p = softmax(t/T), q = softmax(s/T)", smooth=False
    ),
}


@dataclass(frozen=True, kw_only=True)
class SoftTargets(LogitObjective):
    """The divergence of the student's soft probabilities from the teacher's, times T^2, in nats.

    T^2 keeps the size of the gradient nearly the same at every temperature (not with `total-variation`).

    Args:
        temperature: T, divides the logits of both before softmax.
        divergence: `forward-kl` is KL(teacher||student) (`kd`), `reverse-kl` the other way round (`reverse_kl`),
            `jsd` lies between them (`jsd`) and shrinks to nothing beside its ends, `normalised-jsd` does not;
            `total-variation` is half the sum of differences (`total_variation`).
        beta: of the two jsd only, the teacher's share of the mixture: 0 is forward KL, 1 is reverse KL.

    Raises:
        ValueError: temperature not a positive finite number; beta outside [0, 1], or without a jsd.
    """

    name: Literal["soft-targets"] = "soft-targets"
    temperature: float = 4.0
    divergence: Divergence = "forward-kl"
    beta: float | None = None

    traits: ClassVar[Traits] = TRAITS["forward-kl"]

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.divergence not in MIXED:
            if self.beta is not None:
                raise ValueError(f"beta belongs to {' and '.join(MIXED)}, not to {self.divergence}: leave it out")
        elif self.beta is None:
            object.__setattr__(self, "beta", 0.5)
        elif not 0.0 <= self.beta <= 1.0:
            raise ValueError(f"beta must be 0 to 1, not {self.beta}")
        super().__post_init__()

    def promised(self) -> Traits:
        """Those of the divergence."""
        return TRAITS[self.divergence]

    def values(self, student_NC: Tensor, teacher_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Values [N] in nats from two logits [N, C]; the labels are not used."""
        if self.beta is not None:
            normalised = self.divergence == "normalised-jsd"
            return jsd(student_NC, teacher_NC, temperature=self.temperature, beta=self.beta, normalised=normalised)
        divergence = {"forward-kl": kd, "reverse-kl": reverse_kl}.get(self.divergence, total_variation)
        return divergence(student_NC, teacher_NC, temperature=self.temperature)


def _softened(student: Tensor, teacher: Tensor, temperature: float, name: str) -> tuple[Tensor, Tensor]:
    """The logarithms of q and p."""
    student_NC, teacher_NC = paired(student, teacher, name)
    return F.log_softmax(student_NC / temperature, dim=-1), F.log_softmax(teacher_NC / temperature, dim=-1)
