"""Regression on logits.

Dimension key: N examples, C classes, 1 kept for broadcasting.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.objectives.base import LogitObjective, Traits
from limbeck.objectives.pairing import paired


def logit_mse(student_logits: Tensor, teacher_logits: Tensor, *, centred: bool = False) -> Tensor:
    """Mean over classes of (s - t)^2, Ba and Caruana 2014, arXiv 1312.6184, who have half the sum instead.

    A class at -inf at the teacher is absent, and not counted in the mean.

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C], taken as constants.
        centred: take the mean off s - t first, so that a constant added to all logits is nothing; half of that is
            the limit of `kd` at a high temperature.

    Returns:
        Values [...] in squared nats, one per example.

    Raises:
        ValueError: logits of different shapes.
    """
    student_NC, teacher_NC = paired(student_logits, teacher_logits, "logit_mse")
    absent_NC = teacher_NC == -math.inf
    count_N1 = (~absent_NC).sum(dim=-1, keepdim=True)
    student_NC, teacher_NC = (torch.where(absent_NC, 0.0, z_NC) for z_NC in (student_NC, teacher_NC))
    if centred:
        shift_N1 = (student_NC - teacher_NC).sum(dim=-1, keepdim=True) / count_N1
        teacher_NC = torch.where(absent_NC, 0.0, teacher_NC + shift_N1)
    return F.mse_loss(student_NC, teacher_NC, reduction="none").sum(dim=-1) / count_N1.squeeze(-1)


@dataclass(frozen=True, kw_only=True)
class LogitMSE(LogitObjective):
    """The mean over classes of the squared difference of the logits (`logit_mse`), in squared nats.

    Args:
        centred: compare logits less their mean over the classes: what softmax does not see is not asked for.

    Raises:
        ValueError: centred with `standardise`, which has the mean taken off already.
    """

    name: Literal["logit-mse"] = "logit-mse"
    centred: bool = False

    traits: ClassVar[Traits] = Traits(
        needs=("logits",),
        zero_at_teacher=True,
        shift_invariant=False,
        paper="Ba and Caruana 2014, NeurIPS, arXiv 1312.6184",
        formula="mean (s - t)^2 over classes, if centred each less its mean",
        cost="N C",
    )

    def __post_init__(self) -> None:
        if self.centred and self.standardise:
            raise ValueError("centred expected logits that still have a mean, got standardise: leave centred out")
        super().__post_init__()

    def promised(self) -> Traits:
        """Centred, a common constant is nothing."""
        return replace(type(self).traits, shift_invariant=self.centred)

    def values(self, student_NC: Tensor, teacher_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Values [N] in squared nats from two logits [N, C]; the labels are not used."""
        return logit_mse(student_NC, teacher_NC, centred=self.centred)
