"""What is done to stored inputs before a network sees them.

Dimension key: N examples, C channels or features.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limbeck.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """(inputs / scale - mean) / std, in float32; teacher and student each own one.

    Args:
        scale: divides the stored values, 255 for 8-bit images.
        mean: subtracted from each channel (feature, for inputs [N, C]); None subtracts nothing.
        std: divides each channel; None divides by nothing.

    Raises:
        ValueError: a scale or std that is not a positive number, a mean that is not finite, lengths that
            differ.
    """

    scale: float = 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for divisor in (self.scale, *(self.std or ())):
            if not (divisor > 0 and math.isfinite(divisor)):
                raise ValueError(f"scale and std must be positive numbers, not {divisor}")
        for offset in self.mean or ():
            if not math.isfinite(offset):
                raise ValueError(f"mean must be finite, not {offset}")
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} values and std {len(self.std)}: give one a channel each")

    def __call__(self, inputs: Any) -> Tensor:
        """Inputs [N, C, ...], a tensor or array of any type, as a float32 tensor; new memory only if a value changes.

        Raises:
            DataError: mean or std do not have one value a channel.
        """
        values = torch.as_tensor(inputs).float()
        # Division, not multiplication by 1 / scale: the quotient is then the nearest float32.
        values = values if self.scale == 1 else values / self.scale
        values = values if self.mean is None else values - _per_channel(self.mean, values)
        return values if self.std is None else values / _per_channel(self.std, values)


def _per_channel(constants: tuple[float, ...], values: Tensor) -> Tensor:
    """C constants as [1, C, 1, ...], to meet values [N, C, ...]."""
    channels = values.shape[1]
    if len(constants) != channels:
        raise DataError(
            f"preprocess has {len(constants)} values of mean or std, the inputs {tuple(values.shape)}",
            expected=f"{channels}, one a channel",
            do="give as many values as the inputs have channels",
        )
    return torch.tensor(constants, device=values.device).reshape(1, channels, *[1] * (values.dim() - 2))
