"""A classifier of the Hugging Face hub, of images or of texts, as teacher.

Dimension key: N examples, C classes, T tokens.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from limbeck.data import Preprocess
from limbeck.errors import DataError, RecipeError
from limbeck.extras import package
from limbeck.files import describe, path_of
from limbeck.models import parameters
from limbeck.teachers.audience import Audience
from limbeck.teachers.hub import check_commit, fetch_folder
from limbeck.teachers.hub_folder import CONFIG, FETCHED, IMAGES, HubFolder
from limbeck.teachers.hub_images import image_preprocess
from limbeck.teachers.hub_text import Tokens, tokens_of
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.picked import answering
from limbeck.teachers.teacher import Teacher

_OF_IMAGES, _OF_TEXTS = "ForImageClassification", "ForSequenceClassification"


@dataclass(frozen=True, kw_only=True)
class HubTeacher:
    """An image or sequence classifier of transformers, in a folder or on the hub; needs the extra `hf`.

    Args:
        path: a folder that save_pretrained wrote.
        name: OWNER/NAME of a repository of the hub, in place of a folder.
        revision: the full hash of its commit.
        classes: the names of its outputs, in its order; null is what its settings say, else the data's.
        preprocess: of an image classifier; null is what its image processor does.
    """

    kind: Literal["huggingface"] = "huggingface"
    path: str | None = None
    name: str | None = None
    revision: str | None = None
    classes: tuple[str, ...] | None = None
    preprocess: Preprocess | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.name is None):
            raise ValueError("give path, a folder, or name and revision, a repository of the hub")
        if self.path is not None and self.revision is not None:
            raise ValueError("revision is of a repository of the hub: leave it out with path")

    def open(self, audience: Audience) -> Teacher:
        """See `TeacherSpec.open`."""
        folder = HubFolder(self._folder(audience.key))
        transformers = package("transformers", "hf")
        what = f"the model in {self.path}" if self.name is None else f"{self.name} of the hub"
        module = _loaded(transformers, folder)
        own = self._own_names(module.config, what)
        width = module.config.num_labels
        preprocess = self._preprocess_of(module, folder, audience)
        teacher = ModuleTeacher(
            _bare(module).eval(),
            preprocess,
            audience.device,
            audience.taps,
            facts={"config": describe(folder.path / CONFIG)["sha256"], "transformers": version("transformers")},
        )
        teacher.try_out(audience.examples, width, what)
        if isinstance(preprocess, Tokens):
            preprocess.count_cut(audience.examples)
        return answering(teacher, own, audience.classes, what)

    def _folder(self, key: str) -> Path:
        if self.path is not None:
            return path_of(self.path, f"{key}.path")
        check_commit(self.revision, f"{key}.revision")
        assert self.name is not None
        assert self.revision is not None
        do = "check name and revision, or download the repository elsewhere and give its folder by `path`"
        return fetch_folder(self.name, FETCHED, self.revision, do)

    def _own_names(self, config: Any, what: str) -> tuple[str, ...] | None:
        """The names of its outputs; None if nobody has named them."""
        names: dict[int, str] = config.id2label
        if self.classes is not None:
            if len(self.classes) != len(names):
                raise DataError(
                    f"{what} has {len(names)} outputs, and `classes` names {len(self.classes)}",
                    expected="a name for each output, in its order",
                    do="name them all: those that the data lack are left out",
                )
            return self.classes
        if names == {number: f"LABEL_{number}" for number in range(len(names))}:
            return None
        return tuple(str(names[number]) for number in sorted(names))

    def _preprocess_of(self, module: Any, folder: HubFolder, audience: Audience) -> Preprocess:
        if _kind_of(folder) == _OF_IMAGES:
            channels = getattr(module.config, "num_channels", 3)
            if self.preprocess is not None:
                return self.preprocess
            return image_preprocess(folder.settings(IMAGES), channels, audience.preprocess, str(folder.path / IMAGES))
        if self.preprocess is not None:
            raise RecipeError(
                f"{audience.key}.preprocess came with a classifier of texts",
                expected="none: its tokenizer reads them",
                do="leave it out",
            )
        tokens = tokens_of(folder, _positions(module), module.config.pad_token_id)
        # Those that look for the last token of a text look for the filling after it.
        module.config.pad_token_id = tokens.padding
        return tokens


def _kind_of(folder: HubFolder) -> str:
    named = folder.config.get("architectures")
    for kind in (_OF_IMAGES, _OF_TEXTS):
        if isinstance(named, list) and len(named) == 1 and str(named[0]).endswith(kind):
            return kind
    raise DataError(
        f"{folder.path / CONFIG} is of {named}",
        expected=f"one architecture of transformers that ends in {_OF_IMAGES} or {_OF_TEXTS}",
        do="take a model that was fine-tuned as a classifier; one without a head would get a random one",
    )


def _loaded(transformers: Any, folder: HubFolder) -> Any:
    """The network with its weights in float32, every one of them from the files, by code of transformers alone."""
    images = _kind_of(folder) == _OF_IMAGES
    auto = transformers.AutoModelForImageClassification if images else transformers.AutoModelForSequenceClassification
    own = {"trust_remote_code": False, "local_files_only": True}
    try:
        with _quiet(transformers), torch.random.fork_rng(devices=[]):
            config = transformers.AutoConfig.from_pretrained(folder.path, **own)
            with torch.device("meta"):
                described = parameters(auto.from_config(config, trust_remote_code=False))
            _check_size(folder, described)
            module, found = auto.from_pretrained(
                folder.path, config=config, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **own
            )
    except DataError:
        raise
    except Exception as error:  # whatever a stranger's settings lead the library into
        raise _unfit(folder, f"cannot be loaded: {str(error).strip()[:300]}") from error
    lacking = sorted(found["missing_keys"])
    if lacking:
        raise _unfit(folder, f"has no weights for {', '.join(lacking[:4])}, which would be random")
    return module


def _check_size(folder: HubFolder, described: int) -> None:
    held = sum(file.stat().st_size for file in folder.weights)
    if described > held:
        raise _unfit(folder, f"describes a network of {described:,} numbers, and its weights have {held:,} bytes")


def _unfit(folder: HubFolder, why: str) -> DataError:
    return DataError(
        f"{folder.path} {why}",
        expected=f"an image or sequence classifier that transformers {version('transformers')} knows, whole",
        do="check that from_pretrained of transformers loads it without a warning, or download it again",
    )


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Bars and remarks of the library are no part of a run's output: what matters in them is looked at here."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _positions(module: nn.Module) -> int | None:
    """How many tokens the network can take, by its table of positions."""
    most: int | None = getattr(module.config, "max_position_embeddings", None)
    for name, part in module.named_modules():
        # Such tables count from behind the padding token.
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding) and part.padding_idx is not None:
            return part.num_embeddings - part.padding_idx - 1
    return most


def _bare(module: nn.Module) -> nn.Module:
    """The network itself, whose forward takes one tensor and gives its logits [N, C] alone; parts keep their names."""
    kind: Any = type(module)
    taken = inspect.signature(kind.forward).parameters

    def forward(self: nn.Module, seen: Tensor) -> Tensor:
        if seen.is_floating_point():
            told: Mapping[str, Tensor] = {"pixel_values": seen}
        else:
            parts = zip(("input_ids", "attention_mask", "token_type_ids"), seen.unbind(dim=1), strict=True)
            # Zeros say nothing, and GPT-2 would take them for words.
            told = {name: part for name, part in parts if name in taken and (name != "token_type_ids" or part.any())}
        logits: Tensor = kind.forward(self, **told, return_dict=True).logits
        return logits

    module.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    return module
