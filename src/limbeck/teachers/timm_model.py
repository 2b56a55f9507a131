"""A network of timm as teacher."""

import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from limbeck.data import AnyPreprocess, ImagePreprocess, Interpolation, Preprocess
from limbeck.errors import DataError, RecipeError
from limbeck.extras import package
from limbeck.files import path_of
from limbeck.models import initialise
from limbeck.teachers.audience import Audience
from limbeck.teachers.hub import check_commit, fetch_file
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.picked import answering
from limbeck.teachers.teacher import Teacher
from limbeck.teachers.weights import load_weights

_IMAGENET = 1000
_INTERPOLATIONS = get_args(Interpolation)


@dataclass(frozen=True, kw_only=True)
class TimmTeacher:
    """An image network of timm, by its name there; needs the extra `vision`.

    Args:
        name: with its tag, such as `resnet50.a1_in1k`; the tag says which weights and which preprocessing.
        path: a safetensors file with its weights; null is timm's own from the Hugging Face hub.
        revision: the commit of timm's weights on the hub; null is the newest.
        classes: the names of its outputs, in its order; null is ImageNet's synsets where the data have these, else
            the data's.
        preprocess: what it takes; null is what timm says: resized, cropped, normalised.
    """

    kind: Literal["timm"] = "timm"
    name: str
    path: str | None = None
    revision: str | None = None
    classes: tuple[str, ...] | None = None
    preprocess: Preprocess | None = None

    def open(self, audience: Audience) -> Teacher:
        """See `TeacherSpec.open`."""
        if self.revision is not None:
            check_commit(self.revision, f"{audience.key}.revision")
        timm = package("timm", "vision")
        config = self._config(timm, audience.key)
        own = self.classes or self._synsets(timm, config, audience)
        width = len(own or audience.classes)
        what = f"timm's {self.name} with {width} outputs"
        module = initialise(lambda: timm.create_model(self.name, pretrained=False, num_classes=width), (), 0, seed=0)
        load_weights(self._weights(config, width, audience.key), module, what)
        teacher = ModuleTeacher(
            module.eval().to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            self.preprocess or _preprocess(config, audience.preprocess),
            audience.device,
            audience.taps,
            facts={"timm": version("timm")},
        )
        teacher.try_out(audience.examples, width, what)
        return answering(teacher, own, audience.classes, what)

    def _config(self, timm: Any, key: str) -> Any:
        """What timm knows of the name: where its weights are, and what it was trained to see."""
        try:
            config = timm.get_pretrained_cfg(self.name)
        except RuntimeError:  # a tag that the architecture does not have
            config = None
        if config is None:
            near = timm.list_models(f"{self.name.split('.')[0]}*", pretrained=True)[:5]
            raise RecipeError(
                f"{key}.name is {self.name!r}" + (f"; there are {', '.join(near)}" if near else ""),
                expected=f"a name of timm {version('timm')}, such as resnet50.a1_in1k",
                do="look it up by timm.list_models(pretrained=True); a network of another repository is loaded by the "
                "name of its architecture, with `path` for its safetensors file",
            )
        return config

    def _synsets(self, timm: Any, config: Any, audience: Audience) -> tuple[str, ...] | None:
        """ImageNet's names for the outputs of a network of ImageNet, if the data speak of classes in these names."""
        if self.path is not None or config.num_classes != _IMAGENET:
            return None
        names = tuple(timm.data.ImageNetInfo("imagenet-1k").label_names())
        return names if set(audience.classes) <= set(names) else None

    def _weights(self, config: Any, width: int, key: str) -> Path:
        if self.path is not None:
            return path_of(self.path, f"{key}.path")
        if config.num_classes != width:
            raise DataError(
                f"timm's {self.name} has {config.num_classes} outputs, and {width} are asked for",
                expected="its own head: a new one would be random",
                do="name all its outputs by `classes`, or give the safetensors file of a network fine-tuned on these "
                "classes by `path`",
            )
        do = f"download model.safetensors of {config.hf_hub_id} elsewhere and give its `path`"
        return fetch_file(config.hf_hub_id or self.name, "model.safetensors", self.revision, do)


def _preprocess(config: Any, source: AnyPreprocess) -> ImagePreprocess:
    """What timm evaluates the network on; the source says how stored values become shares of 1."""
    channels, height, width = config.input_size
    known = config.crop_mode == "squash" or (config.crop_mode == "center" and height == width)
    if not known or config.interpolation not in _INTERPOLATIONS:
        raise DataError(
            f"timm evaluates it on {height} x {width} with crop_mode {config.crop_mode} and interpolation "
            f"{config.interpolation}",
            expected=f"squares with crop_mode center, or squash, and one of {', '.join(_INTERPOLATIONS)}",
            do="give `preprocess` yourself",
        )
    high, wide = (math.floor(side / config.crop_pct) for side in (height, width))
    return ImagePreprocess(
        scale=source.scale if isinstance(source, Preprocess) else 1.0,
        mean=tuple(config.mean),
        std=tuple(config.std),
        channels=channels,
        resize=high if config.crop_mode == "center" else (high, wide),
        crop=(height, width),
        interpolation=config.interpolation,
    )
