"""The soft-label objective, `distillation_loss`: four divergences of soft probabilities.

Dimension key: N examples, C classes.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.objectives.base import LogitObjective, Traits
from limbeck.objectives.buckets import bucketed
from limbeck.objectives.checks import check_temperature
from limbeck.objectives.divergences import exact_kl, known, softened_kl, softmax
from limbeck.objectives.pairing import paired
from limbeck.signal import Signal

Divergence = Literal["forward-kl", "reverse-kl", "jsd", "normalised-jsd", "total-variation"]
MIXED = ("jsd", "normalised-jsd")
"""The divergences that have a beta."""


def kd(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """T^2 KL(p||q) with p = softmax(t/T) and q = softmax(s/T), Hinton, Vinyals and Dean 2015, arXiv 1503.02531.

    The gradient at the student's logits is T (q - p). As of all divergences here it is taken in closed form, and has
    no derivative of its own.

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C], taken as constants.
        temperature: T.

    Returns:
        Values [...] in nats, one per example.

    Raises:
        ValueError: logits of different shapes or of one class, or a temperature that is none.
    """
    check_temperature(temperature)
    student_NC, teacher_NC = paired(student_logits, teacher_logits, "kd", least=2)
    return softened_kl(student_NC, teacher_NC, temperature)


def reverse_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """T^2 KL(q||p), Gu 2024, arXiv 2306.08543; arguments and values as of `kd`.

    The gradient at the student's logits is T q (log(q/p) - KL(q||p)). A class that the teacher alone rules out, at
    -inf, makes the value infinite.
    """
    check_temperature(temperature)
    student_NC, teacher_NC = paired(student_logits, teacher_logits, "reverse_kl", least=2)
    with torch.no_grad():
        q, p = softmax(student_NC / temperature), softmax(teacher_NC / temperature)
        ratio_NC = q.log.sub_(p.log)
        kl_N = exact_kl(q.plain, ratio_NC, p.plain.sub_(q.plain))
        gradient_NC = ratio_NC.sub_(kl_N.unsqueeze(-1)).mul_(q.plain)
    return known(student_NC, temperature**2 * kl_N, gradient_NC, temperature)


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
        ValueError: logits of different shapes or of one class, or a temperature or beta that is none.
    """
    _check_beta(beta)
    if beta == 0.0:
        return kd(student_logits, teacher_logits, temperature=temperature)
    if beta == 1.0:
        return reverse_kl(student_logits, teacher_logits, temperature=temperature)
    check_temperature(temperature)
    student_NC, teacher_NC = paired(student_logits, teacher_logits, "jsd", least=2)
    factor = temperature / (beta * (1 - beta) if normalised else 1.0)
    with torch.no_grad():
        q, p = softmax(student_NC / temperature), softmax(teacher_NC / temperature)
        towards_NC = p.plain - q.plain
        # m / p = 1 + (1 - beta) (q / p - 1) and m / q = 1 + beta (p / q - 1). Beyond the most that exp bears one of
        # the two probabilities is nothing beside the other.
        most = 0.9 * math.log(torch.finfo(towards_NC.dtype).max)
        apart_NC = p.log.sub_(q.log).clamp_(-most, most)
        teacher_ratio_NC = apart_NC.neg().expm1_().mul_(1 - beta).log1p_().neg_()
        ratio_NC = apart_NC.expm1_().mul_(beta).log1p_().neg_()
        teacher_N = exact_kl(p.plain, teacher_ratio_NC, (beta - 1) * towards_NC)
        student_N = exact_kl(q.plain, ratio_NC, towards_NC.mul_(beta))
        gradient_NC = ratio_NC.sub_(student_N.unsqueeze(-1)).mul_(q.plain)
        values_N = factor * temperature * (beta * teacher_N + (1 - beta) * student_N)
    return known(student_NC, values_N, gradient_NC, factor * (1 - beta))


def total_variation(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """T^2 1/2 sum_c |q - p|, Wen 2023, arXiv 2307.15190; arguments and values as of `kd`.

    Its gradient jumps where q = p in a class and is 0 there, and grows with T.
    """
    check_temperature(temperature)
    student_NC, teacher_NC = paired(student_logits, teacher_logits, "total_variation", least=2)
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
        ValueError: temperature outside 0.001 to 1,000,000; beta outside [0, 1], or without a jsd.
    """

    name: Literal["soft-targets"] = "soft-targets"
    temperature: float = 4.0
    divergence: Divergence = "forward-kl"
    beta: float | None = None

    traits: ClassVar[Traits] = TRAITS["forward-kl"]

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.divergence not in get_args(Divergence):
            known_ones = ", ".join(get_args(Divergence))
            raise ValueError(f"divergence must be one of {known_ones}, not {self.divergence!r}")
        if self.divergence not in MIXED:
            if self.beta is not None:
                raise ValueError(f"beta belongs to {' and '.join(MIXED)}, not to {self.divergence}: leave it out")
        elif self.beta is None:
            object.__setattr__(self, "beta", 0.5)
        else:
            _check_beta(self.beta)
        super().__post_init__()

    def promised(self) -> Traits:
        """Those of the divergence."""
        return TRAITS[self.divergence]

    def sides(self, student_NC: Tensor, signal: Signal) -> tuple[Tensor, Tensor]:
        """See `LogitObjective.sides`: of a teacher's largest logits, buckets, whose masses are exact (`bucketed`)."""
        if signal.top is None or self.standardise:  # mean and spread are over all classes
            return super().sides(student_NC, signal)
        return bucketed(student_NC, signal, self.temperature)

    def values(self, student_NC: Tensor, teacher_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Values [N] in nats from two logits [N, C]; the labels are not used."""
        if self.beta is not None:
            normalised = self.divergence == "normalised-jsd"
            return jsd(student_NC, teacher_NC, temperature=self.temperature, beta=self.beta, normalised=normalised)
        divergence = {"forward-kl": kd, "reverse-kl": reverse_kl}.get(self.divergence, total_variation)
        return divergence(student_NC, teacher_NC, temperature=self.temperature)


def _check_beta(beta: float) -> None:
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"beta must be 0 to 1, not {beta}")
