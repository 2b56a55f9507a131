"""Image files made into arrays; what cannot be decoded soundly is named, never left out.

Dimension key: C channels, H rows, W columns.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from limbeck.errors import DataError, name_some
from limbeck.foreign import MOST_RATIO, MOST_UNPACKED

Colour = Literal["rgb", "grey"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

# Decoders in everyday use; Pillow has many more, old and little looked at, that a hostile file could choose.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_PILLOW_MODE = {"rgb": "RGB", "grey": "L"}
_MOST_PIXELS = 64_000_000  # a few kilobytes can claim to be more, and would fill the memory when decoded


def decode_all(paths: list[Path], size: tuple[int, int] | None, colour: Colour) -> NDArray[np.uint8]:
    """The pixels of image files, [N, C, H, W] uint8.

    Args:
        paths: N files.
        size: (H, W) that each image is stretched to; None if they are of one size already.
        colour: C = 3 or C = 1.

    Raises:
        DataError: files that do not decode, or images of several sizes without a `size`.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        # Set here once for all threads, since the filters belong to the process. Pillow warns of oddities
        # that it can read all the same, such as EXIF data cut short.
        warnings.simplefilter("ignore")
        results = list(pool.map(lambda path: _decode(path, size, colour), paths))
    _check_decoded(paths, results)
    images = [result for result in results if not isinstance(result, str)]
    _check_sizes(paths, images)
    return np.stack(images)


def _decode(path: Path, size: tuple[int, int] | None, colour: Colour) -> NDArray[np.uint8] | str:
    """Pixels [C, H, W], or why there are none."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            reason = _refusal(image) or _bomb(image, path.stat().st_size)
            return reason or _pixels(image, size, colour)
    except Exception as error:  # on damaged bytes Pillow's decoders raise nearly every type there is
        return f"{type(error).__name__}: {error}"


def _refusal(image: Image.Image) -> str | None:
    """Why an image is not to be decoded, told from its header."""
    if image.width * image.height > _MOST_PIXELS:
        return f"{image.width} x {image.height} pixels are more than {_MOST_PIXELS:,}"
    if (frames := getattr(image, "n_frames", 1)) > 1:
        return f"{frames} frames or pages, where one is expected"
    if image.mode not in _MODES and not image.mode.startswith("I;16"):
        return f"mode {image.mode} has no known range of values"
    return None


def _bomb(image: Image.Image, packed: int) -> str | None:
    """Refuse a few bytes that stand for very many pixels."""
    unpacked = 3 * image.width * image.height
    if unpacked > max(MOST_UNPACKED, MOST_RATIO * packed):
        return f"{image.width} x {image.height} pixels in {packed:,} bytes"
    return None


def _pixels(image: Image.Image, size: tuple[int, int] | None, colour: Colour) -> NDArray[np.uint8]:
    """Pixels [C, H, W]: upright as EXIF says, 16 bits brought to 8, stretched to the size."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        upright = Image.fromarray((np.asarray(upright).astype(np.float32) / 257).round().astype(np.uint8))
    converted = upright.convert(_PILLOW_MODE[colour])
    if size is not None:
        converted = converted.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(converted)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _check_decoded(paths: list[Path], results: list[NDArray[np.uint8] | str]) -> None:
    bad = [f"{path} ({result})" for path, result in zip(paths, results, strict=True) if isinstance(result, str)]
    if bad:
        raise DataError(
            f"{len(bad)} of {len(paths)} images cannot be used: {name_some(bad)}",
            expected=f"sound images with one frame: {', '.join(_FORMATS)}",
            do="mend, convert or remove these files; limbeck leaves none out by itself",
        )


def _check_sizes(paths: list[Path], images: list[NDArray[np.uint8]]) -> None:
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            first, other = (" x ".join(map(str, each.shape[1:])) for each in (images[0], image))
            raise DataError(
                f"{paths[0]} is {first} pixels (height x width), {path} is {other}",
                expected="images of one size",
                do="set `size`, for example `size: [224, 224]` (height, width)",
            )
