"""The control for soft targets: the teacher's answers without its doubts.

Dimension key: N examples, C classes.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from limbeck.objectives.base import Traits, heard
from limbeck.objectives.pairing import paired
from limbeck.signal import Signal, raised


@dataclass(frozen=True, kw_only=True)
class HardTargets:
    """Cross-entropy with the teacher's first choice, -log softmax(s)_argmax(t), in nats (pseudo-labels, Lee 2013)."""

    name: Literal["hard-targets"] = "hard-targets"

    traits: ClassVar[Traits] = Traits(
        needs=("logits",),
        zero_at_teacher=False,
        paper="Lee 2013, ICML workshop on challenges in representation learning",
        formula="-log softmax(s)_argmax(t)",
        cost="N C",
    )

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        """Values [N] in nats from two logits [N, C]; the labels are not used."""
        signal = heard(signal, self.name)
        if signal.top is None:
            student_NC, teacher_NC = paired(output.logits, signal.logits, self.name)
            return F.cross_entropy(student_NC, teacher_NC.argmax(dim=-1), reduction="none")
        first_N1 = signal.top.ids.gather(1, signal.logits.argmax(dim=1, keepdim=True))
        return F.cross_entropy(raised(output.logits), first_N1[:, 0], reduction="none")
