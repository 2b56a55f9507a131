"""A file of weights as teacher, for a model of the catalogue."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from limbeck.data import Preprocess
from limbeck.errors import DataError, name_some
from limbeck.files import path_of
from limbeck.foreign import foreign_file, looks_like, refuse_pickle
from limbeck.models import AnyModel, initialise
from limbeck.teachers.audience import Audience
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.picked import answering
from limbeck.teachers.teacher import Teacher

MOST_BYTES = 2**40
MOST_HEADER = 16 * 2**20
"""Bytes of the names and shapes; the parser takes some twenty times as many."""
MOST_NAMED = 4
_WHAT = "a safetensors file"


@dataclass(frozen=True, kw_only=True)
class WeightsTeacher:
    """A safetensors file with the weights of a model of the catalogue.

    Args:
        path: the file.
        model: whose weights they are.
        preprocess: what the model takes; null is what the source declares.
        classes: the names of its outputs, in its order; null is the data's.
    """

    kind: Literal["weights"] = "weights"
    path: str
    model: AnyModel
    preprocess: Preprocess | None = None
    classes: tuple[str, ...] | None = None

    def open(self, audience: Audience) -> Teacher:
        """See `TeacherSpec.open`."""
        path = path_of(self.path, f"{audience.key}.path")
        preprocess = self.preprocess or audience.preprocess
        classes = audience.classes if self.classes is None else self.classes
        shape = tuple(preprocess(audience.examples.inputs[:1]).shape[1:])
        module = initialise(self.model, shape, len(classes), seed=0)
        load_weights(path, module, f"the model {self.model.name} for examples {shape} of {len(classes)} classes")
        teacher = ModuleTeacher(module.eval(), preprocess, audience.device, audience.taps)
        return answering(teacher, self.classes, audience.classes, f"the teacher in {self.path}")


def load_weights(path: Path, module: nn.Module, what: str) -> None:
    """Fill a network with the tensors of a safetensors file; whatever their precision, the network keeps its own.

    Args:
        path: the file.
        module: with parameters and buffers of the same names and shapes.
        what: the network, in errors.

    Raises:
        DataError: no such file, damaged, a pickle, or tensors that do not fit; these are named before any is read.
    """
    refuse_pickle(path)
    size = foreign_file(path, what=_WHAT, most=MOST_BYTES)
    check_header(path, size)
    wanted = module.state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            _check_fit(path, wanted, {name: tuple(part.get_shape()) for name, part in slices.items()}, what)
            module.load_state_dict({name: _kind_kept(path, name, file.get_tensor(name), wanted) for name in slices})
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise _unreadable(path, str(error)) from None


def check_header(path: Path, size: int) -> None:
    """Refuse what is no safetensors file, before a parser takes memory for what it declares."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MOST_HEADER, size - 8):
            sign = looks_like(path)
            raise _unreadable(path, f"it is {sign}" if sign else f"its header would have {length:,} bytes")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            raise _unreadable(path, "its header is no JSON") from None
    if not isinstance(header, dict):
        raise _unreadable(path, "its header is no mapping")


def _check_fit(path: Path, wanted: dict[str, Tensor], shapes: dict[str, tuple[int, ...]], what: str) -> None:
    missing = [name for name in wanted if name not in shapes]
    unexpected = [name for name in shapes if name not in wanted]
    other = [
        f"{name} {shapes[name]} for {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in shapes and shapes[name] != tuple(tensor.shape)
    ]
    parts = [("lacks", missing), ("has unknown", unexpected), ("has of another shape", other)]
    if any(names for _, names in parts):
        raise DataError(
            f"{path} " + ", ".join(f"{verb} {name_some(names, MOST_NAMED)}" for verb, names in parts if names),
            expected=f"the {len(wanted)} tensors of {what}",
            do="take the model these weights were trained in, name its outputs by `classes` if they are not the "
            "data's, and rename tensors that only have another prefix",
        )


def _kind_kept(path: Path, name: str, tensor: Tensor, wanted: dict[str, Tensor]) -> Tensor:
    """A tensor of the file, refused where filling the network with it would change what it means."""
    floating = wanted[name].is_floating_point()
    if tensor.is_floating_point() != floating or tensor.is_complex():
        raise DataError(
            f"{path} holds {name} as {str(tensor.dtype).removeprefix('torch.')}",
            expected="floating-point weights" if floating else "whole numbers",
            do="save the weights as they are before any quantisation",
        )
    return tensor.to(torch.float32) if floating else tensor


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is not a readable safetensors file ({why})",
        expected="tensors in the safetensors format; limbeck reads no pickles",
        do="download or save it again, by safetensors.torch.save_file",
    )
