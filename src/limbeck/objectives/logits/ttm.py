"""Transformed teacher matching: only the teacher is softened.

Dimension key: N examples, C classes.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from limbeck.objectives.base import LogitObjective, Traits
from limbeck.objectives.checks import check_exponent
from limbeck.objectives.divergences import kl
from limbeck.objectives.pairing import paired


def ttm(student_logits: Tensor, teacher_logits: Tensor, *, exponent: float = 0.1, weighted: bool = False) -> Tensor:
    """KL(softmax(l t)||softmax(s)), without T^2, Zheng and Yang 2024, arXiv 2402.11148; l = 1/T.

    The gradient at the student's logits is softmax(s) - softmax(l t), times the weight.

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C], taken as constants.
        exponent: l, the power that the teacher's probabilities are raised to before they are normalised again.
        weighted: times sum_c softmax(t)_c^l, which is larger where the teacher is in doubt (WTTM).

    Returns:
        Values [...] in nats, one per example.

    Raises:
        ValueError: logits of different shapes, or an exponent that is none.
    """
    check_exponent(exponent)
    student_NC, teacher_NC = paired(student_logits, teacher_logits, "ttm", least=2)
    values_N = kl(F.log_softmax(exponent * teacher_NC, dim=-1), F.log_softmax(student_NC, dim=-1))
    if not weighted:
        return values_N
    return (exponent * F.log_softmax(teacher_NC, dim=-1)).exp().sum(dim=-1) * values_N


@dataclass(frozen=True, kw_only=True)
class TTM(LogitObjective):
    """The divergence of the student's own probabilities from the teacher's softened ones (`ttm`), in nats.

    There is no temperature on the student, and no T^2. With `exponent` 0.1 the paper weighs it 45.

    Args:
        exponent: l, 1/T of the teacher; 1 is Hinton's KD at temperature 1.
        weighted: weigh each example by the power sum of the teacher's probabilities (WTTM).

    Raises:
        ValueError: exponent outside 0.000001 to 1,000.
    """

    name: Literal["ttm"] = "ttm"
    exponent: float = 0.1
    weighted: bool = False

    traits: ClassVar[Traits] = Traits(
        needs=("logits",),
        zero_at_teacher=False,
        paper="Zheng and Yang 2024, ICLR, arXiv 2402.11148",
        formula="KL(softmax(l t) || softmax(s)), if weighted times sum softmax(t)^l",
        cost="N C",
    )

    def __post_init__(self) -> None:
        check_exponent(self.exponent)
        super().__post_init__()

    def promised(self) -> Traits:
        """At exponent 1 the student's target is the teacher itself."""
        return replace(type(self).traits, zero_at_teacher=self.exponent == 1.0)

    def values(self, student_NC: Tensor, teacher_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Values [N] in nats from two logits [N, C]; the labels are not used."""
        return ttm(student_NC, teacher_NC, exponent=self.exponent, weighted=self.weighted)
