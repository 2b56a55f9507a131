"""The one value that teacher and student have in common: what a network says about a batch.

Dimension key: N examples, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

UNLABELLED = -100
"""The label of an example whose true class is not known; every hard-label objective is 0 on it."""


@dataclass(frozen=True, eq=False)
class Signal:
    """What a network says about a batch of examples.

    The teacher's is the *signal*; the student's *output* has the same form. Never softened: temperature
    belongs to objectives.

    Args:
        logits: [N, C], raw.
        features: what passed each tap, [N, ...], by the name of the tap.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> "Signal":
        """The same on a device."""
        return Signal(self.logits.to(device), {tap: values.to(device) for tap, values in self.features.items()})


def raised(values: Tensor) -> Tensor:
    """Half precision raised to float32, where a log-sum-exp keeps its digits; other dtypes as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
