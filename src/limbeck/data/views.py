"""Views: augmented versions of examples, the same on any rank, in any batch and in any order.

Dimension key: N examples, C channels, H rows, W columns.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.data.randomness import derive_seed, random_bits
from limbeck.errors import DataError

_FIELD = 21  # bits of randomness that one draw takes; three draws fit into 64


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random views of images; a view is a function of (seed, stream id, view number) and of nothing else.

    Args:
        shift: the image moves by -shift to shift pixels in each axis, all equally likely, and what comes in
            is 0: with 4, the pad-and-crop of the CIFAR literature (He 2015, arXiv 1512.03385, section 4.2).
        flip: the image is mirrored left to right with probability 1/2.

    Raises:
        ValueError: a negative shift.
    """

    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise ValueError(f"shift must be at least 0 pixels, not {self.shift}")

    @property
    def active(self) -> bool:
        """Whether a view can differ from its example."""
        return self.shift > 0 or self.flip

    def __call__(self, inputs: Tensor, stream_ids: Tensor, *, seed: int, view: int | Tensor) -> Tensor:
        """One view of each image, in the stored type; the inputs themselves if nothing is asked for.

        Args:
            inputs: [N, C, H, W].
            stream_ids: [N] int64, from `Examples.stream_ids`, on the device of the inputs.
            seed: of the run.
            view: the view number, one for all or [N] int64.

        Raises:
            DataError: inputs that are not images, or are not larger than the shift.
        """
        if not self.active:
            return inputs
        self._check(inputs)
        bits = random_bits(stream_ids, view, seed=derive_seed("augment", seed))
        return _gathered(F.pad(inputs, [self.shift] * 4), self._places(bits, *inputs.shape[2:]))

    def _places(self, bits: Tensor, height: int, width: int) -> Tensor:
        """Where each pixel of a view is in the padded image, [N, H, W], as an index into its pixels."""
        span = 2 * self.shift + 1
        columns = torch.arange(width, device=bits.device)
        if self.flip:
            mirrored_N = _draw(bits, 2, 2).bool()
            columns = torch.where(mirrored_N[:, None], columns.flip(0), columns)
        columns_NW = columns + _draw(bits, 1, span)[:, None]
        rows_NH = torch.arange(height, device=bits.device) + _draw(bits, 0, span)[:, None]
        return rows_NH[:, :, None] * (width + 2 * self.shift) + columns_NW[:, None, :]

    def _check(self, inputs: Tensor) -> None:
        if inputs.dim() != 4:
            raise DataError(
                f"augment got inputs of shape {tuple(inputs.shape)}",
                expected="images, [N, C, H, W]",
                do="remove augment from the recipe, or give the data as images",
            )
        if self.shift >= min(inputs.shape[2:]):
            raise DataError(
                f"augment shifts by up to {self.shift} pixels in images of shape {tuple(inputs.shape)}",
                expected=f"a shift below {min(inputs.shape[2:])}, or nothing of the image may remain",
                do="lower augment.shift",
            )


def _draw(bits: Tensor, field: int, outcomes: int) -> Tensor:
    """One of 0 to outcomes - 1 for each example, [N], from its own part of the bits."""
    value = bits.bitwise_right_shift(field * _FIELD).bitwise_and(2**_FIELD - 1)
    return (value * outcomes).bitwise_right_shift(_FIELD)


def _gathered(padded: Tensor, places_NHW: Tensor) -> Tensor:
    """The pixels at the given places of images, [N, C, H, W]: shift and flip in one pass over memory."""
    examples, channels = padded.shape[:2]
    index = places_NHW.reshape(examples, 1, -1).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, index).view(examples, channels, *places_NHW.shape[1:])
