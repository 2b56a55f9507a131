"""Channel-wise distillation: each channel's map as a distribution over positions.

Dimension key: N examples, C channels, H height, W width, K = H W positions.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from limbeck.objectives.base import Shape, TapObjective, Traits
from limbeck.objectives.checks import check_temperature
from limbeck.objectives.divergences import softened_kl
from limbeck.objectives.features.common import MAPS, compared, projector_for


def channel_wise(
    student: Tensor, teacher: Tensor, projector: nn.Module | None = None, *, temperature: float = 1.0
) -> Tensor:
    """Mean over channels of T^2 KL(p_c||q_c), p_c = softmax(t_c/T) and q_c = softmax(P s_c/T) over positions.

    Shu 2021, arXiv 2011.13256. Maps of unlike sizes are average-pooled to the smaller first.

    Args:
        student: [N, C, H, W].
        teacher: likewise, taken as constants.
        projector: P, from the student's channels to the teacher's; None where they are as many.
        temperature: T.

    Returns:
        Values [N] in nats; 0 on maps of one position.

    Raises:
        ValueError: features that are not maps, or not as many channels; a temperature that is none.
    """
    check_temperature(temperature)
    student_NCHW, teacher_NCHW = compared(student, teacher, projector, "channel-wise", MAPS)
    return softened_kl(student_NCHW.flatten(2), teacher_NCHW.flatten(2), temperature).mean(dim=1)


@dataclass(frozen=True, kw_only=True)
class ChannelWise(TapObjective):
    """The mean over channels of the divergence between two distributions over positions, in nats (`channel_wise`).

    A linear map is learnt where the two have unlike numbers of channels.

    Args:
        temperature: T, divides the features of both before softmax.

    Raises:
        ValueError: temperature outside 0.001 to 1,000,000.
    """

    name: Literal["channel-wise"] = "channel-wise"
    temperature: float = 1.0

    traits: ClassVar[Traits] = Traits(
        needs=("maps",),
        zero_at_teacher=True,
        paper="Shu 2021, arXiv 2011.13256",
        formula="mean_c T^2 KL(p_c || q_c), p_c = softmax(t_c/T) and q_c = softmax(P s_c/T) over positions",
        cost="N D, and the projector's",
    )

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        super().__post_init__()

    def build(self, student: Shape, teacher: Shape) -> nn.Module | None:
        """P, where the channels differ."""
        return projector_for(student, teacher, self.name, MAPS)

    def values(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """Values [N] in nats from maps [N, C, H, W]."""
        return channel_wise(student, teacher, learnt, temperature=self.temperature)
