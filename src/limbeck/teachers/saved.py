"""A model in a folder: weights, and what it takes to use them. Students are delivered so, and teach so.

model.safetensors   parameters and buffers
config.json         catalogue model or null, input shape, classes, preprocessing
manifest.json       sizes and checksums
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import TypeAdapter
from torch import nn

from limbeck.data import AnyPreprocess, Encode, Preprocess
from limbeck.errors import DataError
from limbeck.files import check_format, commit_directory, encode, path_of, read_json, read_tensors, verify
from limbeck.models import MODELS, ModelSpec, bytes_of, initialise
from limbeck.teachers.audience import Audience
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.picked import answering
from limbeck.teachers.teacher import Teacher

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class SavedModel:
    """A network with what it takes to use it.

    Args:
        module: the network.
        spec: its entry of the catalogue, None for a user's own architecture.
        input_shape: of one example, as stored.
        classes: the name of each output.
        preprocess: from stored inputs to what the module takes.
    """

    module: nn.Module
    spec: ModelSpec | None
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    preprocess: AnyPreprocess


@dataclass(frozen=True, kw_only=True)
class SavedTeacher:
    """A teacher in a folder that limbeck saved: `runs/NAME/teacher`, or a student.

    Args:
        path: the folder.
    """

    kind: Literal["saved"] = "saved"
    path: str

    def open(self, audience: Audience) -> Teacher:
        """See `TeacherSpec.open`."""
        path = path_of(self.path, f"{audience.key}.path")
        members = sorted(path.glob("member-*"))
        if members:
            raise DataError(
                f"{path} holds an ensemble of {len(members)}",
                expected="one saved model",
                do=f"set teacher.kind: ensemble, with members of kind saved: {members[0]} and so on",
            )
        saved = load_model(path)
        if isinstance(saved.preprocess, Encode):
            saved.preprocess.check_stored_alike(audience.preprocess, f"the teacher in {self.path}")
        teacher = ModuleTeacher(saved.module, saved.preprocess, audience.device, audience.taps)
        return answering(teacher, saved.classes, audience.classes, f"the teacher in {self.path}")


def save_model(directory: Path, model: SavedModel) -> None:
    """Commit a folder with the model alone: nothing of the teacher, no optimizer."""
    config = {
        "format": 1,
        "model": None if model.spec is None else asdict(model.spec),  # type: ignore[call-overload]
        "input_shape": list(model.input_shape),
        "classes": list(model.classes),
        "preprocess": asdict(model.preprocess),
    }
    commit_directory(directory, {WEIGHTS: dict(model.module.state_dict()), CONFIG: encode(config)})


def load_model(directory: Path, module: nn.Module | None = None) -> SavedModel:
    """The model in a folder; `module` gives the architecture where it is not one of the catalogue.

    Raises:
        DataError: not such a folder, damaged, or weights that do not fit the architecture.
    """
    if not (directory / CONFIG).is_file():
        raise DataError(
            f"{directory} holds no saved model",
            expected=f"a folder with {WEIGHTS} and {CONFIG}, as limbeck saves students and teachers",
            do="check the path: it is runs/NAME/teacher or runs/NAME/arms/ARM/seed-K/student",
        )
    verify(directory)
    config = read_json(directory / CONFIG)
    if not isinstance(config, dict):
        raise _unfit(directory, f"its {CONFIG} is no mapping")
    check_format(config, directory / CONFIG)
    try:
        spec = _spec(config["model"])
        shape, classes = tuple(config["input_shape"]), tuple(config["classes"])
        preprocess = _preprocess(config["preprocess"])
        seen = preprocess.output_shape(shape)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unfit(directory, f"its {CONFIG} lacks or mistypes a field: {_line(error)}") from None
    if module is None and spec is None:
        raise _unfit(directory, "it was saved from an architecture outside the catalogue, which no file can name")
    if module is None and spec is not None:
        _check_size(directory, spec, seen, len(classes))
        module = initialise(spec, seen, len(classes), seed=0)
    assert module is not None
    try:
        module.load_state_dict(read_tensors(directory / WEIGHTS))
    except RuntimeError as error:
        raise _unfit(directory, f"its weights do not fit the model ({str(error).splitlines()[0]})") from None
    return SavedModel(module.eval(), spec, shape, classes, preprocess)


def _spec(config: dict[str, Any] | None) -> ModelSpec | None:
    if config is None:
        return None
    return TypeAdapter(MODELS[config["name"]]).validate_python(config)


def _preprocess(config: dict[str, Any]) -> AnyPreprocess:
    if "kind" in config:
        return TypeAdapter(Encode).validate_python(config)
    return TypeAdapter(Preprocess).validate_python(config)


def _check_size(directory: Path, spec: ModelSpec, shape: tuple[int, ...], classes: int) -> None:
    """Refuse a config whose model has more weights than the file beside it, before memory is taken for them."""
    held = (directory / WEIGHTS).stat().st_size
    try:
        if classes < 1 or min(shape, default=1) < 1:
            raise ValueError("no classes, or inputs of no size")
        with torch.device("meta"):
            needed = bytes_of(spec.build(shape, classes))
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise _unfit(directory, f"its {CONFIG} describes no model ({_line(error)})") from None
    if needed > 2 * held:
        raise _unfit(directory, f"its model has {needed:,} bytes of weights, its {WEIGHTS} {held:,}")


def _line(error: Exception) -> str:
    """The first line of what an error says, for a message of one line; the second too, where pydantic has the field."""
    return ": ".join(line.strip() for line in str(error).splitlines()[:2])


def _unfit(directory: Path, why: str) -> DataError:
    return DataError(
        f"{directory} cannot be loaded: {why}",
        expected="a saved model of limbeck's catalogue with weights that fit it",
        do="load it in Python: limbeck.load_model(path, module=YourModel()), and pass the module as teacher",
    )
