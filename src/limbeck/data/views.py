"""Views: augmented versions of examples, the same on any rank, in any batch and in any order.

Dimension key: N examples, C channels, H rows, W columns.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.data.draws import (
    beta_quantiles,
    beta_roots,
    draw,
    draw_between,
    draw_from,
    log_uniform_roots,
    uniform_roots,
)
from limbeck.data.pixels import as_stored, blended, gathered, jittered, rectangles, stretched
from limbeck.data.randomness import derive_seed, random_bits
from limbeck.errors import DataError

_ASPECT = 4 / 3  # the largest of a crop's width to its height, and of its height to its width
_TRIES = 10  # windows drawn for a crop, of which the first that fits into the image is taken


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random views of images; a view is a function of (seed, stream id, view number) and of nothing else.

    They are made in the order of these settings. What comes in from outside, or is cut out, is 0 as it is stored.

    Args:
        crop: a window of at least this share of the area, of an aspect from 3/4 to 4/3, is stretched to the whole
            (Szegedy 2014, arXiv 1409.4842, section 6); null leaves it out.
        shift: the image moves by -shift to shift pixels in each axis, all equally likely: with 4, the pad-and-crop of
            the CIFAR literature (He 2015, arXiv 1512.03385, section 4.2).
        flip: the image is mirrored left to right with probability 1/2.
        colour: brightness, contrast and, of three channels, saturation are each multiplied by 1 - colour to
            1 + colour. Bytes are held within 0 to 255.
        cutout: the side of a square that is cut out around any pixel (DeVries and Taylor 2017, arXiv 1708.04552).
        mixup: a of Beta(a, a), the share of the example in its blend with a partner (Zhang 2018, arXiv 1710.09412);
            0 leaves it out.
        cutmix: a of Beta(a, a), the share of the example's area where a rectangle of a partner is pasted into it (Yun
            2019, arXiv 1905.04899); 0 leaves it out. With mixup too, each view has one of them, by a bit.

    Raises:
        ValueError: a setting out of its range.
    """

    crop: float | None = None
    shift: int = 0
    flip: bool = False
    colour: float = 0.0
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        if self.crop is not None and not 0 < self.crop < 1:
            raise ValueError(f"crop is a share of the area, above 0 and below 1, or null, not {self.crop}")
        if self.shift < 0:
            raise ValueError(f"shift must be at least 0 pixels, not {self.shift}")
        if not 0 <= self.colour <= 1:
            raise ValueError(f"colour must be from 0 to 1, not {self.colour}")
        if self.cutout < 0:
            raise ValueError(f"cutout must be at least 0 pixels, not {self.cutout}")
        for name, a in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            # Below, nearly all shares round to 0 or 1; above, to 1/2.
            if a != 0 and not 0.01 <= a <= 1000:
                raise ValueError(f"{name} is a of Beta(a, a), 0.01 to 1000, or 0 for none, not {a}")

    @property
    def active(self) -> bool:
        """Whether a view can differ from its example."""
        return self != Augment()

    @property
    def mixes(self) -> bool:
        """Whether a view is a mix with a partner."""
        return self.mixup > 0 or self.cutmix > 0

    def facts(self) -> dict[str, Any]:
        """The settings that do something, as JSON."""
        return {name: value for name, value in asdict(self).items() if value}

    def __call__(self, inputs: Tensor, stream_ids: Tensor, *, seed: int, view: int | Tensor) -> Tensor:
        """One view of each image before it is mixed, in the stored type; the inputs if nothing is asked for.

        Args:
            inputs: [N, C, H, W].
            stream_ids: [N] int64, from `Examples.stream_ids`, on the device of the inputs.
            seed: of the run.
            view: the view number, one for all or [N] int64.

        Raises:
            DataError: inputs that are not images, or are not larger than the shift or the cutout.
        """
        if self == Augment(mixup=self.mixup, cutmix=self.cutmix):
            return inputs
        self._check(inputs)
        values, (height, width) = inputs, inputs.shape[2:]

        def bits(*words: int | str) -> Tensor:
            return random_bits(stream_ids, view, seed=derive_seed(*words, seed))

        if self.crop is not None:
            sides = self._sides([bits("crop", attempt) for attempt in range(_TRIES)], height, width)
            spare = [size - side + 1 for size, side in zip((height, width), sides, strict=True)]
            places = bits("crop place")
            values = stretched(values, (draw(places, 0, spare[0]), draw(places, 1, spare[1])), sides)
        if self.shift or self.flip:
            values = gathered(F.pad(values, [self.shift] * 4), self._places(bits("augment"), height, width))
        if self.colour:
            low, high, drawn = 1 - self.colour, 1 + self.colour, bits("colour")
            values = jittered(values, *(draw_between(drawn, field, low, high) for field in range(3)))
        if self.cutout:
            side_N = torch.full_like(stream_ids, self.cutout)
            middles = _any_pixel(bits("cutout"), height, width)
            cut_NHW = rectangles(middles, (side_N, side_N), height, width)
            values = values.masked_fill(cut_NHW[:, None], 0)
        return as_stored(values, inputs.dtype)

    def mixed(
        self, views: Tensor, partners: Tensor, stream_ids: Tensor, *, seed: int, view: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Views mixed with those of their partners, and the share [N] float32 that each has of its own.

        Args:
            views: [N, ...]; for cutmix [N, C, H, W].
            partners: of the same shape and type.
            stream_ids: [N] int64, those of the views.
            seed: of the run.
            view: the view number, one for all or [N] int64.

        Raises:
            DataError: cutmix of inputs that are not images.
        """
        bits = random_bits(stream_ids, view, seed=derive_seed("mix", seed))
        if not self.cutmix:
            return self._blended(views, partners, bits)
        pasted, areas_N = self._pasted(views, partners, bits, random_bits(bits, 0, seed=derive_seed("cutmix", seed)))
        if not self.mixup:
            return pasted, areas_N
        blends, shares_N = self._blended(views, partners, bits)
        chosen_N = draw(bits, 1, 2).bool()
        chosen = chosen_N.view(-1, *[1] * (views.ndim - 1))
        return torch.where(chosen, pasted, blends), torch.where(chosen_N, areas_N, shares_N)

    def _blended(self, views: Tensor, partners: Tensor, bits: Tensor) -> tuple[Tensor, Tensor]:
        shares_N = draw_from(bits, 0, beta_quantiles(self.mixup))
        return blended(views, partners, shares_N), shares_N

    def _pasted(self, views: Tensor, partners: Tensor, bits: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        _check_images(views)
        height, width = views.shape[2:]
        roots_N = draw_from(bits, 0, beta_roots(self.cutmix))
        sides = ((height * roots_N).long(), (width * roots_N).long())
        pasted_NHW = rectangles(_any_pixel(places, height, width), sides, height, width)
        own_N = height * width - pasted_NHW.flatten(1).sum(dim=1)
        shares_N = (own_N.double() / (height * width)).float()
        return torch.where(pasted_NHW[:, None], partners, views), shares_N

    def _sides(self, attempts: list[Tensor], height: int, width: int) -> tuple[Tensor, Tensor]:
        """The height and width [N] of a crop: the first window that fits, or the largest that is allowed."""
        assert self.crop is not None, "the caller has asked"
        # An image far from square holds no window of the whole share: then all of its shorter side is taken.
        rows_N = torch.full_like(attempts[0], min(height, round(width * _ASPECT)))
        columns_N = torch.full_like(attempts[0], min(width, round(height * _ASPECT)))
        side = math.sqrt(height * width)
        for bits in reversed(attempts):
            area = draw_from(bits, 0, uniform_roots(self.crop)) * side
            aspect = draw_from(bits, 1, log_uniform_roots(_ASPECT))
            tall, wide = (area / aspect).round().long(), (area * aspect).round().long()
            fits = (tall >= 1) & (tall <= height) & (wide >= 1) & (wide <= width)
            rows_N, columns_N = torch.where(fits, tall, rows_N), torch.where(fits, wide, columns_N)
        return rows_N, columns_N

    def _places(self, bits: Tensor, height: int, width: int) -> Tensor:
        """Where each pixel of a view is in the padded image, [N, H, W], as an index into its pixels."""
        span = 2 * self.shift + 1
        columns = torch.arange(width, device=bits.device)
        if self.flip:
            mirrored_N = draw(bits, 2, 2).bool()
            columns = torch.where(mirrored_N[:, None], columns.flip(0), columns)
        columns_NW = columns + draw(bits, 1, span)[:, None]
        rows_NH = torch.arange(height, device=bits.device) + draw(bits, 0, span)[:, None]
        return rows_NH[:, :, None] * (width + 2 * self.shift) + columns_NW[:, None, :]

    def _check(self, inputs: Tensor) -> None:
        _check_images(inputs)
        for name, does, pixels in (("shift", "shifts by", self.shift), ("cutout", "cuts out", self.cutout)):
            if pixels and pixels >= min(inputs.shape[2:]):
                raise DataError(
                    f"augment {does} up to {pixels} pixels in images of shape {tuple(inputs.shape)}",
                    expected=f"a {name} below {min(inputs.shape[2:])}, or nothing of the image may remain",
                    do=f"lower augment.{name}",
                )


def _check_images(inputs: Tensor) -> None:
    if inputs.dim() != 4:
        raise DataError(
            f"augment got inputs of shape {tuple(inputs.shape)}",
            expected="images, [N, C, H, W]",
            do="remove augment from the recipe, or give the data as images",
        )


def _any_pixel(bits: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Row and column [N] of a pixel, all equally likely."""
    return draw(bits, 0, height), draw(bits, 1, width)
