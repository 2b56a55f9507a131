"""The one value that teacher and student have in common: what a network says about a batch.

Dimension key: N examples, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Signal:
    """What a network says about a batch of examples.

    The teacher's is the *signal*; the student's *output* has the same form. Never softened: temperature
    belongs to objectives.

    Args:
        logits: [N, C], raw.
        features: outputs of named taps, [N, ...] each.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)

    def detach(self) -> "Signal":
        """The same values as constants: no gradient passes."""
        return Signal(self.logits.detach(), {name: value.detach() for name, value in self.features.items()})


def raised(values: Tensor) -> Tensor:
    """Half precision raised to float32, where a log-sum-exp keeps its digits; other dtypes as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
