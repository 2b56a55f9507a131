"""Decoupled knowledge distillation: the target class and the others, each with its own weight.

Dimension key: N examples, C classes, 1 kept for broadcasting.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.objectives.base import LogitObjective, Traits
from limbeck.objectives.checks import check_temperature, check_weights
from limbeck.objectives.divergences import bernoulli_kl, kl
from limbeck.objectives.logits.target import others_of, target_of
from limbeck.objectives.pairing import paired
from limbeck.signal import UNLABELLED


def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    target_weight: float = 1.0,
    non_target_weight: float = 8.0,
) -> Tensor:
    """T^2 [w_t KL(b_t||b_s) + w_n KL(h_t||h_s)], Zhao 2022, arXiv 2203.08679, with their alpha = w_t and beta = w_n.

    b is the probability of the label's class against all others at temperature T, h the probabilities of the others
    among themselves. Hinton's KD is w_t = 1 and w_n = 1 - b_t; of two classes there is only the first term, and also
    where the teacher has all others at -inf.

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C], taken as constants.
        labels: [...], `UNLABELLED` where the true class is not known.
        temperature: T.
        target_weight: w_t.
        non_target_weight: w_n.

    Returns:
        Values [...] in nats, one per example; 0 where there is no label.

    Raises:
        ValueError: logits of different shapes, or of fewer than two classes; a temperature that is none.
    """
    check_temperature(temperature)
    student_NC, teacher_NC = paired(student_logits, teacher_logits, "dkd")
    target_N1 = target_of(labels, student_NC.shape[-1], "dkd")
    student_margin_N, log_h_student_NC, _ = _decoupled(student_NC / temperature, target_N1)
    teacher_margin_N, log_h_teacher_NC, sure_N = _decoupled(teacher_NC / temperature, target_N1)
    target_N = bernoulli_kl(teacher_margin_N, student_margin_N)
    non_target_N = torch.where(sure_N, 0.0, kl(log_h_teacher_NC, log_h_student_NC))
    values_N = temperature**2 * (target_weight * target_N + non_target_weight * non_target_N)
    return torch.where(labels == UNLABELLED, 0.0, values_N)


@dataclass(frozen=True, kw_only=True)
class DKD(LogitObjective):
    """The teacher's confidence in the label, and what it says of the other classes, weighed apart (`dkd`), in nats.

    Where the teacher is sure, Hinton's KD hardly hears what it says of the others; here that has its own weight.

    Args:
        temperature: T, divides the logits of both before softmax.
        target_weight: of the target class against the others; alpha in the paper.
        non_target_weight: of the others among themselves; beta in the paper.

    Raises:
        ValueError: temperature outside 0.001 to 1,000,000; a weight below 0, or both 0.
    """

    name: Literal["dkd"] = "dkd"
    temperature: float = 4.0
    target_weight: float = 1.0
    non_target_weight: float = 8.0

    traits: ClassVar[Traits] = Traits(
        needs=("logits", "labels"),
        zero_at_teacher=True,
        paper="Zhao 2022, CVPR, arXiv 2203.08679",
        formula="T^2 [w_t KL(b_t || b_s) + w_n KL(h_t || h_s)], b = softmax(z/T)_y, h = softmax over the others",
        cost="N C",
    )

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_weights(target_weight=self.target_weight, non_target_weight=self.non_target_weight)
        super().__post_init__()

    def values(self, student_NC: Tensor, teacher_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Values [N] in nats from two logits [N, C] and labels [N]."""
        return dkd(
            student_NC,
            teacher_NC,
            labels_N,
            temperature=self.temperature,
            target_weight=self.target_weight,
            non_target_weight=self.non_target_weight,
        )


def _decoupled(logits_NC: Tensor, target_N1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The logit of b, [N], log h, [N, C] with -inf at the target, and where b is 1 as there are no others, [N]."""
    others_NC, alone_N = others_of(logits_NC, target_N1)
    # b/(1 - b) = e^z_y / sum of e^z over the others: log(1 - b), which is -inf where b rounds to 1, is never taken.
    margin_N = logits_NC.gather(-1, target_N1).squeeze(-1) - others_NC.logsumexp(dim=-1)
    return margin_N.masked_fill(alone_N, math.inf), F.log_softmax(others_NC, dim=-1), alone_N
