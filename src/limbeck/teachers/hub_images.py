"""What an image processor of the Hugging Face hub does, from its settings."""

import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from limbeck.data import AnyPreprocess, ImagePreprocess, Interpolation, Preprocess
from limbeck.errors import DataError

_SQUARE = {"ViT": True, "DeiT": True, "Beit": True, "Siglip": True, "Bit": False, "CLIP": False, "ConvNext": False}
"""Processors that are understood -> whether one number as `size` is both sides, or the shorter one."""

_RESAMPLE: dict[Any, Interpolation] = {2: "bilinear", 3: "bicubic"}
_UNKNOWN = ("do_pad", "do_flip_channel_order", "do_reduce_labels", "rescale_offset", "do_color_quantize")
_MOST_SIDE, _STRETCHED = 4096, 384
"""Pixels; ConvNext's processor crops below the second, and stretches from there on."""


def image_preprocess(settings: Mapping[str, Any], channels: int, source: AnyPreprocess, where: str) -> ImagePreprocess:
    """The preprocess that an image processor's settings describe.

    Args:
        settings: its `preprocessor_config.json`.
        channels: of the network.
        source: of the data, which says how stored values become shares of 1.
        where: the file in errors.

    Raises:
        DataError: another processor, or settings that are not understood.
    """
    try:
        kind = _kind(settings)
        resize, crop = _sizes(settings, kind)
        factor = float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
        normalised = settings.get("do_normalize", True)
        return ImagePreprocess(
            scale=(source.scale if isinstance(source, Preprocess) else 1.0) / (255 * factor),
            mean=_each(settings["image_mean"], channels) if normalised else None,
            std=_each(settings["image_std"], channels) if normalised else None,
            channels=channels,
            resize=resize,
            crop=crop,
            interpolation="bilinear" if resize is None else _RESAMPLE[settings["resample"]],
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        _refuse(where, f"{type(error).__name__} {error}")


def _kind(settings: Mapping[str, Any]) -> str:
    name = settings.get("image_processor_type") or settings.get("feature_extractor_type") or "of no type"
    kind = re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "", str(name))
    unknown = [key for key in _UNKNOWN if settings.get(key)]
    if kind not in _SQUARE or unknown:
        raise ValueError(f"the processor is {name}" + (f", with {unknown[0]}" if unknown else ""))
    return kind


def _sizes(settings: Mapping[str, Any], kind: str) -> tuple[tuple[int, int] | int | None, tuple[int, int] | None]:
    """What the image is resized to, and what is kept of it."""
    crop = _pair(settings["crop_size"]) if settings.get("do_center_crop") else None
    if not settings.get("do_resize", True):
        return None, crop
    size = settings["size"]
    if isinstance(size, int):
        size = {"height": size, "width": size} if _SQUARE[kind] else {"shortest_edge": size}
    if kind == "ConvNext":
        side = _side(size["shortest_edge"])
        if side < _STRETCHED:
            return _side(int(side / settings.get("crop_pct", 224 / 256))), (side, side)
        return (side, side), None
    if set(size) == {"shortest_edge"}:
        return _side(size["shortest_edge"]), crop
    return _pair(size), crop


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return _side(size), _side(size)
    if set(size) != {"height", "width"}:
        raise ValueError(f"a size of {', '.join(size)}")
    return _side(size["height"]), _side(size["width"])


def _side(pixels: Any) -> int:
    if not isinstance(pixels, int) or not 1 <= pixels <= _MOST_SIDE:
        raise ValueError(f"a side of {pixels} pixels")
    return pixels


def _each(values: Any, channels: int) -> tuple[float, ...]:
    given = tuple(map(float, values)) if isinstance(values, list) else (float(values),) * channels
    if len(given) != channels or not all(map(math.isfinite, given)):
        raise ValueError(f"{given} for {channels} channels")
    return given


def _refuse(where: str, why: str) -> NoReturn:
    raise DataError(
        f"{where} cannot be followed: {why}"[:300],
        expected=f"one of the image processors {', '.join(_SQUARE)}: bilinear or bicubic resizing to height and width "
        "or of the shortest edge, a crop of the middle, rescaling and normalising",
        do="give `preprocess` yourself: what the network was trained to see",
    )
