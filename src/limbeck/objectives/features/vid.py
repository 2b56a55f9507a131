"""Variational information distillation: the teacher's features as a Gaussian whose mean the student predicts.

Dimension key: N examples, C channels of the teacher.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.objectives.base import Shape, TapObjective, Traits
from limbeck.objectives.features.common import channels, check_shapes, compared, linear, mean

INITIAL_VARIANCE = 5.0
LEAST_VARIANCE = 1e-5


def vid(student: Tensor, teacher: Tensor, log_scale: Tensor, network: nn.Module | None = None) -> Tensor:
    """Mean over channels and positions of ((mu - t)^2 / v + log v) / 2, mu = network(s), one variance v per channel.

    Ahn 2019, arXiv 1904.05835: the negative logarithm of a Gaussian without log(2 pi) / 2, so it may be below 0. The
    variance is to be learnt with the network. Maps of unlike sizes are average-pooled to the smaller first.

    Args:
        student: [N, C, H, W], [N, L, D] or [N, D].
        teacher: of the same kind, taken as constants.
        log_scale: [C], any numbers; v = softplus(log_scale) + 1e-5.
        network: from the student's channels to the teacher's; None to take the student's features as the mean.

    Returns:
        Values [N] in nats.

    Raises:
        ValueError: features that cannot be compared, or not a scale per channel.
    """
    predicted, teacher = compared(student, teacher, network, "vid")
    if log_scale.shape != (channels(teacher.shape[1:]),):
        raise ValueError(
            f"vid expected log_scale [C] for features {tuple(teacher.shape)} of the teacher, got "
            f"{tuple(log_scale.shape)}: give one number for each channel"
        )
    # torch takes softplus(x) for x above its default threshold of 20, which is wrong by 2e-9.
    variance_C = F.softplus(log_scale, threshold=40.0) + LEAST_VARIANCE
    error_NC = _mean_over_positions(F.mse_loss(predicted, teacher, reduction="none"))
    return mean(0.5 * (error_NC / variance_C + variance_C.log()))


class MeanAndVariance(nn.Module):
    """What VID learns: three linear maps of each position with ReLU between, and a variance per channel.

    Args:
        student: shape of one example.
        teacher: likewise.
    """

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        width, dimensions = channels(teacher), len(teacher)
        self.network = nn.Sequential(
            linear(channels(student), width, dimensions),
            nn.ReLU(),
            linear(width, width, dimensions),
            nn.ReLU(),
            linear(width, width, dimensions),
        )
        self.log_scale = nn.Parameter(torch.full((width,), math.log(math.expm1(INITIAL_VARIANCE - LEAST_VARIANCE))))


@dataclass(frozen=True, kw_only=True)
class VID(TapObjective):
    """How unlikely the teacher's features are under a Gaussian about what a small network makes of the student's.

    The network and the variances are learnt (`vid`, `MeanAndVariance`).
    """

    name: Literal["vid"] = "vid"

    traits: ClassVar[Traits] = Traits(
        needs=("features",),
        zero_at_teacher=False,
        non_negative=False,
        shift_invariant=False,
        smooth=False,  # ReLU has a kink.
        paper="Ahn 2019, arXiv 1904.05835",
        formula="mean ((mu(s) - t)^2 / v + log v) / 2, mu a learnt network, v a learnt variance per channel",
        cost="N D, and the network's",
    )

    def build(self, student: Shape, teacher: Shape) -> nn.Module:
        """The network and the variances."""
        check_shapes(student, teacher, self.name)
        return MeanAndVariance(student, teacher)

    def values(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """Values [N] in nats from features [N, ...].

        Raises:
            ValueError: features that cannot be compared, or not what `build` gave.
        """
        if not isinstance(learnt, MeanAndVariance):
            raise ValueError(f"vid expected what its build makes, got {type(learnt).__name__}: build it first")
        return vid(student, teacher, learnt.log_scale, learnt.network)


def _mean_over_positions(values: Tensor) -> Tensor:
    """[N, C] from [N, C, H, W], [N, L, C] or [N, C]."""
    if values.ndim == 4:
        return values.flatten(2).sum(dim=2) / math.prod(values.shape[2:])
    return values.sum(dim=1) / values.shape[1] if values.ndim == 3 else values
