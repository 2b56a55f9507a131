"""What is done to stored images before a network of the vision libraries sees them.

Dimension key: N examples, C channels, H height, W width.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.data.preprocess import Preprocess
from limbeck.errors import DataError

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True, kw_only=True)
class ImagePreprocess(Preprocess):
    """Channels matched, resized, cropped in the middle, then (values / scale - mean) / std.

    8-bit images are resized in 8 bits, as by Pillow, with which these networks were trained: they come out alike but
    for one level of 255 here and there.

    Args:
        channels: of the network; grey images are repeated to them.
        resize: height and width to stretch to, or what the shorter side becomes; None leaves the size.
        crop: height and width of the middle that is kept; None keeps all.
        interpolation: of resizing, antialiased.
    """

    channels: int
    resize: tuple[int, int] | int | None = None
    crop: tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"

    def __call__(self, inputs: Any) -> Tensor:
        """Images [N, C, H, W] as the network takes them, in float32.

        Raises:
            DataError: no images, other channels, or fewer pixels than the crop keeps.
        """
        images = torch.as_tensor(inputs)
        if images.ndim != 4 or images.shape[1] not in (1, self.channels):
            raise DataError(
                f"an image network was given examples of shape {tuple(images.shape[1:])}",
                expected=f"images [channels, height, width] of {self.channels} channels, or of one",
                do="take an image source, with data.colour: rgb for colours, or another kind of teacher",
            )
        wide = images.expand(-1, self.channels, -1, -1)
        return super().__call__(self._cropped(self._resized(wide)))

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """See `Preprocess.output_shape`; found by doing it to one example."""
        return tuple(self(torch.zeros(1, *input_shape)).shape[1:])

    def _resized(self, images: Tensor) -> Tensor:
        if self.resize is None:
            return images
        size = self.resize
        if isinstance(size, int):
            height, width = images.shape[2:]
            # The longer side is cut to whole pixels, as Pillow's users do.
            size = (size, size * width // height) if height <= width else (size * height // width, size)
        if size == tuple(images.shape[2:]):
            return images
        if images.dtype == torch.uint8 and images.device.type == "cpu":
            return F.interpolate(images, size, mode=self.interpolation, antialias=True)
        resized = F.interpolate(images.float(), size, mode=self.interpolation, antialias=True)
        return resized.round().clamp(0, 255) if images.dtype == torch.uint8 else resized

    def _cropped(self, images: Tensor) -> Tensor:
        if self.crop is None:
            return images
        (height, width), (high, wide) = self.crop, images.shape[2:]
        if high < height or wide < width:
            raise DataError(
                f"the network takes the middle {height} x {width} of images of {high} x {wide}",
                expected="images of at least that size, once resized",
                do="store them larger (data.size), or give `preprocess` yourself",
            )
        top, left = (high - height) // 2, (wide - width) // 2
        return images[:, :, top : top + height, left : left + width]
