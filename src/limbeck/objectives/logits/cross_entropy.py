"""The hard-label objective, `student_loss`."""

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
            section 7); 0 is the plain label.

    Raises:
        ValueError: smoothing outside [0, 1).
    """

    name: Literal["cross-entropy"] = "cross-entropy"
    smoothing: float = 0.0

    traits: ClassVar[Traits] = Traits(
        needs=("labels",),
        zero_at_teacher=False,
        paper="Szegedy 2016, arXiv 1512.00567, section 7 (smoothing)",
        formula="-log softmax(s)_y",
        cost="N C",
    )

    def __post_init__(self) -> None:
        if not 0.0 <= self.smoothing < 1.0:
            raise ValueError(f"smoothing must be at least 0 and below 1, not {self.smoothing}")

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        """Values [N] in nats from logits [N, C] and labels [N]; the signal is not used."""
        return F.cross_entropy(
            raised(output.logits),
            labels,
            reduction="none",
            ignore_index=UNLABELLED,
            label_smoothing=self.smoothing,
        )
