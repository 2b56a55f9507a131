"""What is done to stored inputs before a network sees them.

Dimension key: N examples, C channels or features, H rows, W columns.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import DataError

if TYPE_CHECKING:
    from limbeck.data.examples import Examples


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """(inputs / scale - mean) / std, in float32; teacher and student each own one.

    Args:
        scale: divides the stored values, 255 for 8-bit images.
        size: height and width that images are resized to, bilinear and antialiased; None leaves them.
        channels: how many a grey image is repeated to, for a network that takes colours; None leaves them.
        mean: subtracted from each channel (feature, for inputs [N, C]); None subtracts nothing.
        std: divides each channel; None divides by nothing.

    Raises:
        ValueError: a scale, std, size or channels that is not a positive number, a mean that is not finite, lengths
            that differ.
    """

    scale: float = 1.0
    size: tuple[int, int] | None = None
    channels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for count in (*(self.size or ()), *(() if self.channels is None else (self.channels,))):
            if count < 1:
                raise ValueError(f"size and channels must be 1 or more, not {count}")
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
            DataError: mean or std do not have one value a channel; a size or channels for what is no such image.
        """
        values = torch.as_tensor(inputs).float()
        # Division, not multiplication by 1 / scale: the quotient is then the nearest float32.
        values = values if self.scale == 1 else values / self.scale
        shape = self._shape(tuple(values.shape[1:]))
        if self.size is not None and tuple(values.shape[2:]) != self.size:
            values = F.interpolate(values, self.size, mode="bilinear", antialias=True)
        if shape[0] != values.shape[1]:
            values = values.repeat(1, shape[0], 1, 1)
        values = values if self.mean is None else values - _per_channel(self.mean, values)
        return values if self.std is None else values / _per_channel(self.std, values)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an example after preprocessing, from its shape as stored.

        Raises:
            DataError: a size for what is no image, or channels for an image that is not grey.
        """
        return self._shape(input_shape)

    def on(self, examples: "Examples") -> "Preprocess":
        """Itself: nothing of it is learnt."""
        return self

    def _shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.size is None and self.channels is None:
            return input_shape
        if len(input_shape) != 3 or (self.channels is not None and input_shape[0] not in (1, self.channels)):
            asked = {"size": self.size, "channels": self.channels}
            raise DataError(
                f"preprocess has {' and '.join(f'{name} {x}' for name, x in asked.items() if x is not None)}, "
                f"the examples have the shape {input_shape}",
                expected="images (channels, height, width), grey ones where channels are asked for",
                do="leave them out for these data",
            )
        return (self.channels or input_shape[0], *(self.size or input_shape[1:]))


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
