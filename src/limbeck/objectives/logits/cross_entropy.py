"""The hard-label objective, `student_loss`.

Dimension key: N examples, C classes.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from limbeck.objectives.base import Traits
from limbeck.signal import UNLABELLED, Signal, raised


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Cross-entropy with the true labels, -log softmax(s)_y, in nats; 0 where the label is unknown.

    Args:
        smoothing: the share of each target spread evenly over all classes (Szegedy 2016, arXiv 1512.00567,
            section 7), but for those at -inf, which are absent; 0 is the plain label.

    Raises:
        ValueError: smoothing outside [0, 1).
    """

    name: Literal["cross-entropy"] = "cross-entropy"
    smoothing: float = 0.0

    traits: ClassVar[Traits] = Traits(
        needs=("labels",),
        zero_at_teacher=False,
        paper="Szegedy 2016, arXiv 1512.00567, section 7 (smoothing)",
        formula="-log softmax(s)_y, if smoothed (1 - e) of it and e of the mean of -log softmax(s) over classes",
        cost="N C",
    )

    def __post_init__(self) -> None:
        if not 0.0 <= self.smoothing < 1.0:
            raise ValueError(f"smoothing must be at least 0 and below 1, not {self.smoothing}")

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        """Values [N] in nats from logits [N, C] and labels [N]; the signal is not used."""
        logits_NC = raised(output.logits)
        log_q_NC = F.log_softmax(logits_NC, dim=-1)
        values_N = F.nll_loss(log_q_NC, labels, reduction="none", ignore_index=UNLABELLED)
        if not self.smoothing:
            return values_N
        # Not torch's own smoothing, which is inf where a class is absent.
        absent_NC = log_q_NC == -math.inf
        count_N = log_q_NC.shape[-1] - absent_NC.sum(dim=-1)
        even_N = -log_q_NC.masked_fill(absent_NC, 0.0).sum(dim=-1) / count_N
        return (1 - self.smoothing) * values_N + self.smoothing * even_N.masked_fill(labels == UNLABELLED, 0.0)
