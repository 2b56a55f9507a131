"""The one value that teacher and student have in common: what a network says about a batch.

Dimension key: N examples, C classes, k classes of which a logit is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

UNLABELLED = -100
"""The label of an example whose true class is not known; every hard-label objective is 0 on it."""


@dataclass(frozen=True, eq=False)
class Top:
    """What a signal that keeps its k largest logits knows of the rest: their mass, at some temperatures.

    Args:
        ids: [N, k] int64, the classes that the logits are of.
        tails: by temperature T, [N] log sum exp(z_c / T) over the classes c that are not among them; -inf where there
            are none.
        classes: C.
    """

    ids: Tensor
    tails: Mapping[float, Tensor]
    classes: int

    def tail(self, temperature: float) -> Tensor:
        """The tail at a temperature, [N].

        Raises:
            ValueError: it was not kept: no arithmetic gets it from the largest logits alone.
        """
        if temperature not in self.tails:
            raise ValueError(
                f"the tail of a top-k signal is known at the temperatures {', '.join(f'{t:g}' for t in self.tails)}, "
                f"not at {temperature:g}: label anew at that temperature, or keep all logits (labels.encoding: auto)"
            )
        return self.tails[temperature]

    def to(self, device: torch.device) -> "Top":
        """The same on a device."""
        return Top(self.ids.to(device), {t: tail.to(device) for t, tail in self.tails.items()}, self.classes)


@dataclass(frozen=True, eq=False)
class Signal:
    """What a network says about a batch of examples.

    The teacher's is the *signal*; the student's *output* has the same form. Never softened: temperature
    belongs to objectives.

    Args:
        logits: [N, C], raw; with `top` the k largest alone, [N, k].
        features: what passed each tap, [N, ...], by the name of the tap.
        top: which logits these are, where not all were kept.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    top: Top | None = None

    def to(self, device: torch.device) -> "Signal":
        """The same on a device."""
        features = {tap: values.to(device) for tap, values in self.features.items()}
        return Signal(self.logits.to(device), features, None if self.top is None else self.top.to(device))


def raised(values: Tensor) -> Tensor:
    """Half precision raised to float32, where a log-sum-exp keeps its digits; other dtypes as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
