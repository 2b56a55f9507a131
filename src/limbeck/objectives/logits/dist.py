"""DIST: how student and teacher rank the classes of an example, and the examples of a class.

Dimension key: N examples, C classes; a reduced dimension is kept as 1.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.objectives.base import LogitObjective, Traits
from limbeck.objectives.checks import check_temperature, check_weights
from limbeck.objectives.pairing import paired

EPSILON = 1e-8
"""Of the published code, added to the product of norms: a row that is equal everywhere correlates with none."""


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    inter_weight: float = 1.0,
    intra_weight: float = 1.0,
) -> Tensor:
    """T^2 [w_inter (1 - rho over classes) + w_intra mean_c (1 - rho over the batch)], Huang 2022, arXiv 2205.10536.

    rho is Pearson's correlation of softmax(s/T) and softmax(t/T), its denominator 1e-8 larger as in the published
    code. The second part is one number of the batch, the same for each example; of one example it is w_intra, and
    without a gradient. A class at -inf in both is absent from all means.

    Args:
        student_logits: [N, C].
        teacher_logits: [N, C], taken as constants.
        temperature: T.
        inter_weight: w_inter; beta in the paper.
        intra_weight: w_intra; gamma in the paper.

    Returns:
        Values [N] without a unit, one per example.

    Raises:
        ValueError: logits of different shapes, or a temperature that is none.
    """
    check_temperature(temperature)
    student_NC, teacher_NC = paired(student_logits, teacher_logits, "dist", least=2)
    q_NC, p_NC = F.softmax(student_NC / temperature, dim=-1), F.softmax(teacher_NC / temperature, dim=-1)
    present_NC = ((student_NC > -math.inf) | (teacher_NC > -math.inf)).to(p_NC.dtype)
    values_N = inter_weight * _distance(q_NC, p_NC, present_NC, dim=1)
    if intra_weight:
        used_C = (present_NC.sum(dim=0) > 0).to(p_NC.dtype)
        distance_C = _distance(q_NC, p_NC, present_NC, dim=0)
        values_N = values_N + intra_weight * (used_C * distance_C).sum() / used_C.sum()
    return temperature**2 * values_N


@dataclass(frozen=True, kw_only=True)
class DIST(LogitObjective):
    """1 less the correlation of the student's and the teacher's probabilities, over classes and batch (`dist`).

    It asks for the teacher's order and proportions, not for its values. The values of a batch hang together: half a
    batch at a time is another objective.

    Args:
        temperature: T, divides the logits of both before softmax.
        inter_weight: of the correlation over the classes of each example.
        intra_weight: of the correlation over the examples of each class; 0 leaves each example alone.

    Raises:
        ValueError: temperature outside 0.001 to 1,000,000; a weight below 0, or both 0.
    """

    name: Literal["dist"] = "dist"
    temperature: float = 1.0
    inter_weight: float = 1.0
    intra_weight: float = 1.0

    traits: ClassVar[Traits] = Traits(
        needs=("logits",),
        coupling="batch",
        zero_at_teacher=False,
        paper="Huang 2022, NeurIPS, arXiv 2205.10536",
        formula="T^2 [w_inter (1 - rho over classes) + w_intra mean (1 - rho over the batch)], rho of q and p",
        cost="N C",
    )

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_weights(inter_weight=self.inter_weight, intra_weight=self.intra_weight)
        super().__post_init__()

    def promised(self) -> Traits:
        """Without the batch's part each example stands alone."""
        if self.intra_weight:
            return type(self).traits
        return replace(type(self).traits, coupling="example")

    def values(self, student_NC: Tensor, teacher_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Values [N] without a unit from two logits [N, C]; the labels are not used."""
        return dist(
            student_NC,
            teacher_NC,
            temperature=self.temperature,
            inter_weight=self.inter_weight,
            intra_weight=self.intra_weight,
        )


def _distance(q_NC: Tensor, p_NC: Tensor, present_NC: Tensor, *, dim: int) -> Tensor:
    """1 - rho along a dimension, [N] or [C], from probabilities that are 0 where absent; 1 where all are."""
    share = 1 / present_NC.sum(dim=dim, keepdim=True).clamp_min(1)
    q_NC, p_NC = (
        torch.addcmul(x_NC, present_NC, x_NC.sum(dim=dim, keepdim=True) * share, value=-1) for x_NC in (q_NC, p_NC)
    )
    product: Tensor = torch.linalg.vector_norm(q_NC, dim=dim) * torch.linalg.vector_norm(p_NC, dim=dim)
    return 1 - (q_NC * p_NC).sum(dim=dim) / (product + EPSILON)
