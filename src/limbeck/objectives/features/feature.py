"""The plain comparison of any two taps: squared or absolute difference, or the angle between them.

Dimension key: N examples.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.objectives.base import Shape, TapObjective, Traits
from limbeck.objectives.directions import lengths
from limbeck.objectives.features.common import compared, mean, mean_square, projector_for

Distance = Literal["l2", "l1", "cosine"]


def feature(
    student: Tensor, teacher: Tensor, projector: nn.Module | None = None, *, distance: Distance = "l2"
) -> Tensor:
    """The distance of two features of any kind, brought to one shape first.

    `l2` is the mean over channels and positions of (P s - t)^2, `l1` that of |P s - t|, and `cosine` the mean over
    positions of 1 - cos between the channels of P s and of t (Sanh 2019, arXiv 1910.01108). Where all channels of one
    are 0 there is no angle: cos is 0, or 1 where those of the other are 0 too, and there is no gradient. Maps of
    unlike sizes are average-pooled to the smaller first.

    Args:
        student: [N, C, H, W], [N, L, D] or [N, D].
        teacher: of the same kind, taken as constants.
        projector: P, from the student's channels to the teacher's; None where they are as many.
        distance: which.

    Returns:
        Values [N], in squared units of the teacher's features, in these units, or without a unit.

    Raises:
        ValueError: another distance, or features that cannot be compared.
    """
    _check(distance)
    student, teacher = compared(student, teacher, projector, "feature")
    if distance == "cosine":
        return mean(_one_less_cosine(student, teacher))
    if distance == "l1":
        return mean(F.l1_loss(student, teacher, reduction="none"))
    return mean_square(student, teacher)


@dataclass(frozen=True, kw_only=True)
class Feature(TapObjective):
    """The distance between any tap of the student and any tap of the teacher of the same kind (`feature`).

    Args:
        distance: `l2`, the mean squared difference; `l1`, the mean absolute one; `cosine`, 1 - cos over channels.

    Raises:
        ValueError: another distance.
    """

    name: Literal["feature"] = "feature"
    distance: Distance = "l2"

    traits: ClassVar[Traits] = Traits(
        needs=("features",),
        zero_at_teacher=True,
        shift_invariant=False,
        paper="Sanh 2019, arXiv 1910.01108 (cosine)",
        formula="mean (P s - t)^2, mean |P s - t| or mean of 1 - cos(P s, t) over positions",
        cost="N D, and the projector's",
    )

    def __post_init__(self) -> None:
        _check(self.distance)
        super().__post_init__()

    def promised(self) -> Traits:
        """The absolute difference has a kink where the two agree."""
        if self.distance == "l1":
            return replace(type(self).traits, smooth=False)
        return type(self).traits

    def build(self, student: Shape, teacher: Shape) -> nn.Module | None:
        """P, where the channels differ."""
        return projector_for(student, teacher, self.name)

    def values(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """Values [N] from features [N, ...]."""
        return feature(student, teacher, learnt, distance=self.distance)


def _check(distance: str) -> None:
    if distance not in get_args(Distance):
        raise ValueError(f"distance must be one of {', '.join(get_args(Distance))}, not {distance!r}")


def _one_less_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """[N, 1], [N, L, 1] or [N, 1, H, W]."""
    dim = 1 if student.ndim == 4 else -1
    student_lengths, teacher_lengths = lengths(student, dim=dim), lengths(teacher, dim=dim)
    # One after the other: the product of two small lengths would be 0.
    cosines = (student * (teacher / teacher_lengths)).sum(dim=dim, keepdim=True) / student_lengths
    alike = torch.where((student_lengths == math.inf) & (teacher_lengths == math.inf), 0.0, 1.0)
    return alike - cosines
