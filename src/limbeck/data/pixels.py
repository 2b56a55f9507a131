"""What is done to the pixels of views, example by example, by given numbers.

Nothing but sums, products, comparisons and gathers, in an order of its own: a view has the same bits alone and in any
batch, on any device. A library's mean, or its resampling, may add up otherwise for another size of batch; and a GPU
divides by a number in float32 otherwise than a CPU, so quotients are rounded from float64.

Dimension key: N examples, C channels, H rows, W columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey: ITU-R BT.601


def gathered(padded: Tensor, places_NHW: Tensor) -> Tensor:
    """The pixels at the given places of images, [N, C, H, W]: shift and flip in one pass over memory."""
    examples, channels = padded.shape[:2]
    index = places_NHW.reshape(examples, 1, -1).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, index).view(examples, channels, *places_NHW.shape[1:])


def stretched(images: Tensor, starts: tuple[Tensor, Tensor], sides: tuple[Tensor, Tensor]) -> Tensor:
    """Windows of images, brought to the size of the image by bilinear sampling, as float32.

    Args:
        images: [N, C, H, W].
        starts: the first row and the first column of each window, [N] each.
        sides: how many rows and columns it has, [N] each.
    """
    values = images.float()
    for dim, start_N, side_N in zip((2, 3), starts, sides, strict=True):
        values = _stretched_along(values, dim, start_N, side_N)
    return values


def _stretched_along(values: Tensor, dim: int, start_N: Tensor, side_N: Tensor) -> Tensor:
    size = values.shape[dim]
    # Pixels are sampled at their middles, (place + 1/2) side / size - 1/2, here in whole parts of 1 / (2 size).
    middles = torch.arange(1, 2 * size, 2, device=values.device)
    side = side_N[:, None]
    parts = (middles * side - size).clamp(min=0).minimum(2 * size * (side - 1))
    below = parts.div(2 * size, rounding_mode="floor")
    share = ((parts - 2 * size * below).double() / (2 * size)).float()
    above = torch.minimum(below + 1, side - 1)
    shape = [len(values), 1, 1, 1]
    shape[dim] = size
    low, high = (
        values.gather(dim, (start_N[:, None] + place).view(shape).expand_as(values)) for place in (below, above)
    )
    return low + (high - low) * share.view(shape)


def jittered(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Images with their colours changed by factors [N] each, as float32, in this order; 1 changes nothing.

    Brightness multiplies every value, contrast the distance from the image's mean grey, saturation that from the
    pixel's own grey: only images of three channels have any.
    """
    brightness, contrast, saturation = (factor.view(-1, 1, 1, 1) for factor in (brightness, contrast, saturation))
    values = images.float() * brightness
    mean = _mean(_grey(values).flatten(1)).view(-1, 1, 1, 1)
    values = mean + (values - mean) * contrast
    if values.shape[1] != len(_LUMA):
        return values
    grey = _grey(values)
    return grey + (values - grey) * saturation


def _grey(values: Tensor) -> Tensor:
    """[N, 1, H, W] of three channels by their brightness to the eye; other channels as they are."""
    if values.shape[1] != len(_LUMA):
        return values
    red, green, blue = (weight * values[:, [channel]] for channel, weight in enumerate(_LUMA))
    return red + green + blue


def _mean(values: Tensor) -> Tensor:
    """The mean of each row, [N], summed by halves."""
    count = values.shape[1]
    while values.shape[1] > 1:
        half = (values.shape[1] + 1) // 2
        values = values[:, :half] + F.pad(values[:, half:], (0, 2 * half - values.shape[1]))
    return (values[:, 0].double() / count).float()


def rectangles(middles: tuple[Tensor, Tensor], sides: tuple[Tensor, Tensor], height: int, width: int) -> Tensor:
    """Masks [N, H, W] of rectangles around given pixels, the part within the image.

    Args:
        middles: row and column of the middle, [N] each; of an even side, the lower right of the two.
        sides: rows and columns, [N] each.
        height: of the images.
        width: of the images.
    """
    rows_NH, columns_NW = (
        _within(middle_N - side_N.div(2, rounding_mode="floor"), side_N, size)
        for middle_N, side_N, size in zip(middles, sides, (height, width), strict=True)
    )
    return rows_NH[:, :, None] & columns_NW[:, None, :]


def _within(start_N: Tensor, side_N: Tensor, size: int) -> Tensor:
    offsets = torch.arange(size, device=start_N.device) - start_N[:, None]
    return (offsets >= 0) & (offsets < side_N[:, None])


def blended(first: Tensor, second: Tensor, shares_N: Tensor) -> Tensor:
    """Inputs [N, ...] mixed, share * first + (1 - share) * second, in their type."""
    shares = shares_N.view(-1, *[1] * (first.ndim - 1))
    return as_stored(first.float() * shares + second.float() * (1 - shares), first.dtype)


def as_stored(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values in the type in which inputs are stored: bytes to the nearest, from 0 to 255; floats as they are."""
    return values.round().clamp(0, 255).to(dtype) if dtype == torch.uint8 else values
