"""The soft-label objective, `distillation_loss`.

Dimension key: N examples, C classes.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from limbeck.objectives.base import LogitObjective, Traits
from limbeck.objectives.divergences import kl
from limbeck.objectives.pairing import paired


def kd(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """T^2 KL(p||q) with p = softmax(t/T) and q = softmax(s/T), Hinton, Vinyals and Dean 2015, arXiv 1503.02531.

    The gradient at the student's logits is T (q - p).

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C], taken as constants.
        temperature: T.

    Returns:
        Values [...] in nats, one per example.

    Raises:
        ValueError: logits of different shapes.
    """
    log_q_NC, log_p_NC = _softened(student_logits, teacher_logits, temperature, "kd")
    return temperature**2 * kl(log_p_NC, log_q_NC)


def reverse_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """T^2 KL(q||p), Gu 2024, arXiv 2306.08543; arguments and values as of `kd`."""
    log_q_NC, log_p_NC = _softened(student_logits, teacher_logits, temperature, "reverse_kl")
    return temperature**2 * kl(log_q_NC, log_p_NC)


@dataclass(frozen=True, kw_only=True)
class SoftTargets(LogitObjective):
    """The divergence of the student's soft probabilities from the teacher's, times T^2, in nats.

    T^2 keeps the size of the gradient nearly the same at every temperature.

    Args:
        temperature: T, divides the logits of both before softmax.
        divergence: `forward-kl` is KL(teacher||student) (`kd`), `reverse-kl` the other way round (`reverse_kl`).

    Raises:
        ValueError: temperature not a positive finite number.
    """

    name: Literal["soft-targets"] = "soft-targets"
    temperature: float = 4.0
    divergence: Literal["forward-kl", "reverse-kl"] = "forward-kl"

    traits: ClassVar[Traits] = Traits(
        needs=("logits",),
        zero_at_teacher=True,
        paper="Hinton, Vinyals and Dean 2015, arXiv 1503.02531",
        formula="T^2 KL(p || q), p = softmax(t/T), q = softmax(s/T)",
        cost="N C",
    )

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature must be a positive number, not {self.temperature}")

    def values(self, student_NC: Tensor, teacher_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Values [N] in nats from two logits [N, C]; the labels are not used."""
        divergence = kd if self.divergence == "forward-kl" else reverse_kl
        return divergence(student_NC, teacher_NC, temperature=self.temperature)


def _softened(student: Tensor, teacher: Tensor, temperature: float, name: str) -> tuple[Tensor, Tensor]:
    """The logarithms of q and p."""
    student_NC, teacher_NC = paired(student, teacher, name)
    return F.log_softmax(student_NC / temperature, dim=-1), F.log_softmax(teacher_NC / temperature, dim=-1)
