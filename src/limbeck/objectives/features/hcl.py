"""ReviewKD's hierarchical context loss: the squared difference, whole and average-pooled.

Dimension key: N examples, C channels, H height, W width.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.objectives.base import Shape, TapObjective, Traits
from limbeck.objectives.features.common import MAPS, compared, mean_square, projector_for

LEVELS = (4, 2, 1)
"""Heights and widths that the maps are pooled to, those below their height."""


def hcl(student: Tensor, teacher: Tensor, projector: nn.Module | None = None) -> Tensor:
    """Mean of (P s - t)^2 over channels and positions, and after pooling both to 4x4, 2x2 and 1x1, weighted.

    Chen 2021, arXiv 2104.09044, of one pair of taps; theirs is the sum over several. The whole map weighs 1, the
    levels 1/2, 1/4 and 1/8, and the sum is divided by that of the weights. As in their code a level is used where
    it is below the height, and the first that is used weighs 1/2. Maps of unlike sizes are average-pooled to the
    smaller before all this.

    Args:
        student: [N, C, H, W].
        teacher: likewise, taken as constants.
        projector: P, from the student's channels to the teacher's; None where they are as many.

    Returns:
        Values [N] in squared units of the teacher's features.

    Raises:
        ValueError: features that are not maps, or not as many channels.
    """
    student_NCHW, teacher_NCHW = compared(student, teacher, projector, "hcl", MAPS)
    sum_N = mean_square(student_NCHW, teacher_NCHW)
    weight, weights = 1.0, 1.0
    for level in LEVELS:
        if level < student_NCHW.shape[2]:
            weight /= 2
            weights += weight
            pooled_NCHW = F.adaptive_avg_pool2d(student_NCHW, level)
            sum_N = sum_N + weight * mean_square(pooled_NCHW, F.adaptive_avg_pool2d(teacher_NCHW, level))
    return sum_N / weights


@dataclass(frozen=True, kw_only=True)
class HCL(TapObjective):
    """The squared difference of features at several resolutions (`hcl`), of one pair of taps.

    Several pairs are several terms. A linear map is learnt where the two have unlike numbers of channels; the
    paper's fusion of several of the student's layers is left out.
    """

    name: Literal["hcl"] = "hcl"

    traits: ClassVar[Traits] = Traits(
        needs=("maps",),
        zero_at_teacher=True,
        shift_invariant=False,
        paper="Chen 2021, arXiv 2104.09044",
        formula="sum_l w_l mean (pool_l(P s) - pool_l(t))^2 / sum_l w_l, l the whole map, 4x4, 2x2 and 1x1",
        cost="N D, and the projector's",
    )

    def build(self, student: Shape, teacher: Shape) -> nn.Module | None:
        """P, where the channels differ."""
        return projector_for(student, teacher, self.name, MAPS)

    def values(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """Values [N] from maps [N, C, H, W]."""
        return hcl(student, teacher, learnt)
