"""Normalised knowledge distillation: soft cross-entropy with the target, and with the others among themselves.

Dimension key: N examples, C classes, 1 kept for broadcasting.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.objectives.base import LogitObjective, Traits
from limbeck.objectives.checks import check_temperature, check_weights
from limbeck.objectives.divergences import cross_entropy
from limbeck.objectives.logits.target import others_of, target_of
from limbeck.objectives.pairing import paired
from limbeck.signal import UNLABELLED


def nkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1.0,
    non_target_weight: float = 1.5,
) -> Tensor:
    """-p_y log q_y - w T^2 sum_c h_t log h_s, Yang 2023, arXiv 2303.13005, with their gamma = w.

    p and q are probabilities at temperature 1, h those of the classes other than the label's among themselves at
    temperature T. A cross-entropy: not 0 where the student says what the teacher says. There is only the first term
    where the teacher has all others at -inf.

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C], taken as constants.
        labels: [...], `UNLABELLED` where the true class is not known.
        temperature: T.
        non_target_weight: w.

    Returns:
        Values [...] in nats, one per example; 0 where there is no label.

    Raises:
        ValueError: logits of different shapes, or of fewer than two classes; a temperature that is none.
    """
    check_temperature(temperature)
    student_NC, teacher_NC = paired(student_logits, teacher_logits, "nkd")
    target_N1 = target_of(labels, student_NC.shape[-1], "nkd")
    log_q_N1, log_p_N1 = (F.log_softmax(z_NC, dim=-1).gather(-1, target_N1) for z_NC in (student_NC, teacher_NC))
    (others_student_NC, _), (others_teacher_NC, sure_N) = (
        others_of(z_NC, target_N1) for z_NC in (student_NC, teacher_NC)
    )
    log_h_student_NC, log_h_teacher_NC = (
        F.log_softmax(z_NC / temperature, dim=-1) for z_NC in (others_student_NC, others_teacher_NC)
    )
    non_target_N = torch.where(sure_N, 0.0, cross_entropy(log_h_teacher_NC, log_h_student_NC))
    values_N = cross_entropy(log_p_N1, log_q_N1) + non_target_weight * temperature**2 * non_target_N
    return torch.where(labels == UNLABELLED, 0.0, values_N)


@dataclass(frozen=True, kw_only=True)
class NKD(LogitObjective):
    """Cross-entropy weighed by the teacher's confidence, and the soft targets of the other classes (`nkd`), in nats.

    Args:
        temperature: T of the other classes; the target's is 1.
        non_target_weight: of the other classes; gamma in the paper.

    Raises:
        ValueError: temperature outside 0.001 to 1,000,000; a weight that is not one above 0.
    """

    name: Literal["nkd"] = "nkd"
    temperature: float = 1.0
    non_target_weight: float = 1.5

    traits: ClassVar[Traits] = Traits(
        needs=("logits", "labels"),
        zero_at_teacher=False,
        paper="Yang 2023, ICCV, arXiv 2303.13005",
        formula="-p_y log q_y - w T^2 sum h_t log h_s, h = softmax over the others at T",
        cost="N C",
    )

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_weights(non_target_weight=self.non_target_weight)
        super().__post_init__()

    def values(self, student_NC: Tensor, teacher_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Values [N] in nats from two logits [N, C] and labels [N]."""
        return nkd(
            student_NC,
            teacher_NC,
            labels_N,
            temperature=self.temperature,
            non_target_weight=self.non_target_weight,
        )
