"""Attention transfer: where in the picture the features are large, whatever the channels.

Dimension key: N examples, C channels, H height, W width, K = H W positions.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from limbeck.objectives.base import Shape, TapObjective, Traits
from limbeck.objectives.directions import SHORTEST
from limbeck.objectives.features.common import MAPS, aligned, check_shapes, mean_square

POWERS = (2, 4, 6)
"""Odd ones would need |F|^p, and of larger ones little but the strongest position is left."""


def attention_transfer(student: Tensor, teacher: Tensor, *, power: int = 2) -> Tensor:
    """Mean over positions of (Q_s - Q_t)^2, Q = the map of sum_c F_c^p as a unit vector.

    Zagoruyko and Komodakis 2017, arXiv 1612.03928, as their code has it; their paper prints the norm of Q_s - Q_t
    instead. The channels need not be as many. Maps of unlike sizes are average-pooled to the smaller before the power.

    Args:
        student: [N, C, H, W].
        teacher: likewise, taken as constants.
        power: p, 2, 4 or 6.

    Returns:
        Values [N] without a unit; 0 on maps of one position.

    Raises:
        ValueError: another power, or features that are not maps.
    """
    _check(power)
    student_NCHW, teacher_NCHW = aligned(student, teacher, "attention-transfer", MAPS)
    return mean_square(_attention(student_NCHW, power), _attention(teacher_NCHW, power))


@dataclass(frozen=True, kw_only=True)
class AttentionTransfer(TapObjective):
    """The mean squared difference of the two maps of attention (`attention_transfer`).

    Args:
        power: p of sum_c F_c^p; larger, and only the strongest positions count.

    Raises:
        ValueError: power not 2, 4 or 6.
    """

    name: Literal["attention-transfer"] = "attention-transfer"
    power: int = 2

    traits: ClassVar[Traits] = Traits(
        needs=("maps",),
        zero_at_teacher=True,
        shift_invariant=False,
        paper="Zagoruyko and Komodakis 2017, arXiv 1612.03928",
        formula="mean (Q_s - Q_t)^2 over positions, Q = sum_c F_c^p as a unit vector",
        cost="N D",
    )

    def __post_init__(self) -> None:
        _check(self.power)
        super().__post_init__()

    def build(self, student: Shape, teacher: Shape) -> None:
        """Nothing is learnt."""
        check_shapes(student, teacher, self.name, MAPS)

    def values(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """Values [N] from maps [N, C, H, W]."""
        return attention_transfer(student, teacher, power=self.power)


def _check(power: int) -> None:
    if power not in POWERS:
        raise ValueError(f"power must be one of {', '.join(map(str, POWERS))}, not {power}")


def _attention(features_NCHW: Tensor, power: int) -> Tensor:
    """Q, [N, K]; 0 where all features are."""
    # Q does not change with the size of the features. Brought to a largest of 1 their powers neither overflow nor all
    # vanish, and the norm is at least 1 but for a map of zeros. Squares do without, of features from 1e-15 to 1e18.
    if power > 2:
        features_NCHW = features_NCHW / _largest(features_NCHW.flatten(1))[:, :, None, None]
    energy_NK = features_NCHW.pow(power).sum(dim=1).flatten(1)
    scaled_NK = energy_NK / _largest(energy_NK)
    norm_N1: Tensor = torch.linalg.vector_norm(scaled_NK, dim=1, keepdim=True)
    return scaled_NK / norm_N1.clamp_min(0.5)


def _largest(values_ND: Tensor) -> Tensor:
    """The largest magnitude of each row, [N, 1], a constant; at least what can be divided by."""
    sizes_N1: Tensor = torch.linalg.vector_norm(values_ND.detach(), ord=math.inf, dim=1, keepdim=True)
    return sizes_N1.clamp_min(SHORTEST)
