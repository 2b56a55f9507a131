"""Soft targets where each class is a yes or a no of its own: binary and multi-label tasks.

Dimension key: N examples, C classes.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from limbeck.objectives.base import LogitObjective, Traits
from limbeck.objectives.checks import check_temperature
from limbeck.objectives.divergences import bernoulli_kl, known
from limbeck.objectives.pairing import paired


def bernoulli_kd(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """T^2 sum_c KL(sigmoid(t/T)||sigmoid(s/T)) of Bernoulli variables, Yang 2023, arXiv 2308.06453, section 3.2.

    The gradient at the student's logits is T (sigmoid(s/T) - sigmoid(t/T)), taken in closed form.

    Args:
        student_logits: [..., C]; C may be 1.
        teacher_logits: [..., C], taken as constants.
        temperature: T.

    Returns:
        Values [...] in nats, one per example.

    Raises:
        ValueError: logits of different shapes, or a temperature that is none.
    """
    check_temperature(temperature)
    student_NC, teacher_NC = paired(student_logits, teacher_logits, "bernoulli_kd")
    with torch.no_grad():
        s_NC, t_NC = student_NC / temperature, teacher_NC / temperature
        values_N = temperature**2 * bernoulli_kl(t_NC, s_NC).sum(dim=-1)
        gradient_NC = torch.sigmoid(s_NC) - torch.sigmoid(t_NC)
    return known(student_NC, values_N, gradient_NC, temperature)


@dataclass(frozen=True, kw_only=True)
class BernoulliTargets(LogitObjective):
    """The divergence of each class's yes or no from the teacher's, summed, times T^2 (`bernoulli_kd`), in nats.

    For one logit [N, 1], and for classes that do not exclude each other; its partner is `binary-cross-entropy`.

    Args:
        temperature: T, divides the logits of both before sigmoid.

    Raises:
        ValueError: temperature outside 0.001 to 1,000,000.
    """

    name: Literal["bernoulli-targets"] = "bernoulli-targets"
    temperature: float = 4.0

    traits: ClassVar[Traits] = Traits(
        needs=("logits",),
        zero_at_teacher=True,
        shift_invariant=False,
        paper="Yang 2023, ICCV, arXiv 2308.06453 (the logits' part)",
        formula="T^2 sum KL(Bernoulli(p) || Bernoulli(q)), p = sigmoid(t/T), q = sigmoid(s/T)",
        cost="N C",
    )

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        super().__post_init__()

    def values(self, student_NC: Tensor, teacher_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Values [N] in nats from two logits [N, C]; the labels are not used."""
        return bernoulli_kd(student_NC, teacher_NC, temperature=self.temperature)
