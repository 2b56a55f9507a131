"""FitNets' hint: the student's features brought to the teacher's by a learnt linear map, and their squared difference.

Dimension key: N examples.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from limbeck.objectives.base import Shape, TapObjective, Traits
from limbeck.objectives.features.common import compared, mean_square, projector_for


def hint(student: Tensor, teacher: Tensor, projector: nn.Module | None = None) -> Tensor:
    """Mean over channels and positions of (P s - t)^2, Romero 2015, arXiv 1412.6550, as published code has it.

    The paper's own is half the sum: these values times half the number of features. Maps of unlike sizes are
    average-pooled to the smaller first.

    Args:
        student: [N, C, H, W], [N, L, D] or [N, D].
        teacher: of the same kind, taken as constants.
        projector: P, from the student's channels to the teacher's; None where they are as many.

    Returns:
        Values [N] in squared units of the teacher's features.

    Raises:
        ValueError: features that cannot be compared.
    """
    student, teacher = compared(student, teacher, projector, "hint")
    return mean_square(student, teacher)


@dataclass(frozen=True, kw_only=True)
class Hint(TapObjective):
    """The mean squared difference of the student's projected features and the teacher's (`hint`).

    A linear map is learnt where the two have unlike numbers of channels.
    """

    name: Literal["hint"] = "hint"

    traits: ClassVar[Traits] = Traits(
        needs=("features",),
        zero_at_teacher=True,
        shift_invariant=False,
        paper="Romero 2015, arXiv 1412.6550",
        formula="mean (P s - t)^2, P a learnt linear map where the channels differ",
        cost="N D, and the projector's",
    )

    def build(self, student: Shape, teacher: Shape) -> nn.Module | None:
        """P, where the channels differ."""
        return projector_for(student, teacher, self.name)

    def values(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """Values [N] from features [N, ...]."""
        return hint(student, teacher, learnt)
