"""The soft-label objective, `distillation_loss`, and its control.

Dimension key: N examples, C classes.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.objectives.base import Traits, paired_logits
from limbeck.signal import Signal


@dataclass(frozen=True, kw_only=True)
class SoftTargets:
    """The divergence of the student's soft probabilities from the teacher's, times T^2, in nats.

    With p = softmax(t/T) and q = softmax(s/T): `forward-kl` is T^2 KL(p||q) (Hinton, Vinyals and Dean 2015,
    arXiv 1503.02531, section 2; gradient T (q - p)), `reverse-kl` is T^2 KL(q||p) (Gu 2024, arXiv 2306.08543).
    T^2 keeps the size of the gradient nearly the same at every temperature.

    Args:
        temperature: T, divides the logits of both before softmax.
        divergence: which of the two.

    Raises:
        ValueError: temperature not a positive finite number.
    """

    name: Literal["soft-targets"] = "soft-targets"
    temperature: float = 4.0
    divergence: Literal["forward-kl", "reverse-kl"] = "forward-kl"

    traits: ClassVar[Traits] = Traits(needs="teacher", zero_at_teacher=True)

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature must be a positive number, not {self.temperature}")

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        """Values [N] in nats from two logits [N, C]; the labels are not used."""
        student_NC, teacher_NC = paired_logits(output, signal, self.name)
        log_q_NC = F.log_softmax(student_NC / self.temperature, dim=-1)
        log_p_NC = F.log_softmax(teacher_NC / self.temperature, dim=-1)
        forward = self.divergence == "forward-kl"
        divergence_N = kl(log_p_NC, log_q_NC) if forward else kl(log_q_NC, log_p_NC)
        return self.temperature**2 * divergence_N


@dataclass(frozen=True, kw_only=True)
class HardTargets:
    """Cross-entropy with the teacher's first choice, -log softmax(s)_argmax(t), in nats.

    The control for `SoftTargets`: it passes on the teacher's answers without its doubts (pseudo-labels, Lee 2013).
    """

    name: Literal["hard-targets"] = "hard-targets"

    traits: ClassVar[Traits] = Traits(needs="teacher", zero_at_teacher=False)

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        """Values [N] in nats from two logits [N, C]; the labels are not used."""
        student_NC, teacher_NC = paired_logits(output, signal, self.name)
        return F.cross_entropy(student_NC, teacher_NC.argmax(dim=-1), reduction="none")


def kl(log_a_NC: Tensor, log_b_NC: Tensor) -> Tensor:
    """KL(a||b) = sum_c a (log a - log b), [N], from log-probabilities; 0 log 0 = 0."""
    # A class at -inf in both would give inf - inf: the difference is made finite before the product, or the
    # gradient is NaN although the value is right.
    absent_NC = log_a_NC == -math.inf
    difference_NC = torch.where(absent_NC, 0.0, log_a_NC - log_b_NC)
    return (log_a_NC.exp() * difference_NC).sum(dim=-1)
