"""Who is measured: the teacher and the student of a run in torch, as ONNX, and in every export that the run has.

Dimension key: N examples.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limbeck.benchmark.network import run_of
from limbeck.benchmark.worker import TORCH, Run, opened
from limbeck.bundle import CONFIG, EXPORT, Bundle, bundles_of, read_bundle
from limbeck.conversion.onnx import to_onnx
from limbeck.data import AnyPreprocess
from limbeck.errors import LimbeckError
from limbeck.files import path_of, write_bytes
from limbeck.finished import Chosen, Finished, delivered_form
from limbeck.models import multiplications, parameters
from limbeck.prediction import Predictor
from limbeck.prediction.preprocessing import preprocessing
from limbeck.recipe import TrainedTeacher
from limbeck.runtime import Session, read_model
from limbeck.runtime.onnx_outputs import without_dictionaries
from limbeck.teachers import (
    ModuleTeacher,
    Picked,
    RemoteTeacher,
    SavedTeacher,
    SessionTeacher,
    TableTeacher,
    Teacher,
    ask,
    evenly,
)

ONNX, OWN = "onnx", "its own library"
"""Runtimes, beside that of torch and the formats of bundles. A teacher that is no network has its own."""
MOST_EXAMPLES = 512
"""Real examples that are asked about, over and over."""
CONVERTED = 64
"""Examples by which a network is converted."""
TEACHER, STUDENT = "teacher", "student"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One of those that are measured.

    Args:
        name: teacher or student.
        runtime: what runs it.
        open: for a number of threads, a fresh session; it is closed when nobody holds it.
        see: from stored inputs to what it takes; of a teacher with a library of its own, nothing is done here.
        kind: how a fresh process opens `file`, see `limbeck.benchmark.worker.opened`; None: it cannot.
        file: of the network, or the folder of a saved model.
        parameters: that were learnt.
        macs: multiply-accumulates of an example; None where there is no network to look into, or nothing is seen in it.
    """

    name: str
    runtime: str
    open: Callable[[int], Run]
    see: Callable[[Tensor], NDArray[Any]]
    kind: str | None = None
    file: Path | None = None
    parameters: int | None = None
    macs: int | None = None

    def __str__(self) -> str:
        return f"{self.name}, {self.runtime}"

    @property
    def file_bytes(self) -> int | None:
        """Of the network, without what lies beside it."""
        if self.file is None:
            return None
        return (self.file / "model.safetensors" if self.file.is_dir() else self.file).stat().st_size


@dataclass(frozen=True)
class Field:
    """All contenders of a run.

    Args:
        stored: [N, ...], real measured examples.
        contenders: those that can be measured.
        left_out: in a sentence each, what cannot.
    """

    stored: Tensor
    contenders: tuple[Contender, ...]
    left_out: tuple[str, ...]


def field_of(run: Finished, chosen: Chosen, scratch: Path) -> Field:
    """The contenders of a run.

    Args:
        run: which has ended.
        chosen: its student.
        scratch: a directory for files that are made for the measurement alone.

    Raises:
        RecipeError: no such student, or data or a teacher that can only be handed over in Python.
        DataError: the student is damaged, or the data have changed.
    """
    measured = run.data.measured
    stored = measured.inputs[evenly(len(measured), MOST_EXAMPLES)]
    left_out: list[str] = []
    contenders = [*_of_teacher(run, stored, scratch, left_out), *_of_student(run, chosen, stored, scratch, left_out)]
    return Field(stored, tuple(contenders), tuple(left_out))


# --- the teacher -----------------------------------------------------------------------------------------------------


def _of_teacher(run: Finished, stored: Tensor, scratch: Path, left_out: list[str]) -> Iterator[Contender]:
    teacher = run.teacher
    why = _obstacle(teacher)
    if why:
        left_out.append(f"The teacher is not measured: {why}.")
        return
    inner = teacher.teacher if isinstance(teacher, Picked) else teacher
    if isinstance(inner, ModuleTeacher):
        folder = _folder_of_teacher(run)
        yield from _network(TEACHER, inner.module, inner.preprocess, folder, stored, scratch, left_out)
    elif isinstance(inner, SessionTeacher):
        file = scratch / f"{TEACHER}.onnx"
        write_bytes(file, _with_one_output(inner.session))
        yield Contender(
            name=TEACHER,
            runtime=ONNX,
            open=partial(opened, ONNX, file),
            see=_seeing(inner.preprocess),
            kind=ONNX,
            file=file,
            parameters=inner.size,
        )
    else:
        left_out.append(
            "The teacher is no single network: it is measured as a run asks it, preprocessing included, and its "
            "multiplications are not counted."
        )
        yield Contender(
            name=TEACHER, runtime=OWN, open=partial(_asking, teacher), see=torch.Tensor.numpy, parameters=teacher.size
        )


def _obstacle(teacher: Teacher) -> str:
    """Why a teacher cannot be measured here; empty if it can."""
    if isinstance(teacher, TableTeacher):
        return "it is a table of answers, and nothing that computes any"
    if isinstance(teacher, RemoteTeacher):
        return "it answers from another machine, whose cost this one does not see"
    return next(filter(None, map(_obstacle, teacher.within)), "")


def _asking(teacher: Teacher, threads: int) -> Run:
    torch.set_num_threads(threads)

    def run(stored: NDArray[Any]) -> Tensor:
        return ask(teacher, torch.from_numpy(stored), torch.zeros(len(stored), 32, dtype=torch.uint8)).logits

    return run


def _with_one_output(session: Session) -> bytes:
    """The file of a teacher with the output alone that is asked for, as a file that a student is delivered in."""
    model = read_model(session.path)
    without_dictionaries(model, session.output)
    kept = [output for output in model.graph.output if output.name == session.output]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    alone: bytes = model.SerializeToString()
    return alone


def _folder_of_teacher(run: Finished) -> Path | None:
    """Where it lies as a saved model, if it does."""
    spec = run.opened.recipe.teacher
    if isinstance(spec, SavedTeacher):
        return path_of(spec.path, "teacher.path")
    folder = run.home.directory / "teacher"
    return folder if isinstance(spec, TrainedTeacher) and (folder / CONFIG).is_file() else None


# --- the student -----------------------------------------------------------------------------------------------------


def _of_student(
    run: Finished, chosen: Chosen, stored: Tensor, scratch: Path, left_out: list[str]
) -> Iterator[Contender]:
    arm, seed = run.settled(chosen)
    saved = run.student(arm, seed)
    network, digest = delivered_form(saved)
    bundles = list(_bundles(run.directory, digest, left_out))
    folder = run.opened.arm_directory(arm, seed) / "student" if saved.spec is not None else None
    convert = all(bundle.kind != ONNX for bundle in bundles)
    made = _network(STUDENT, network, saved.preprocess, folder, stored, scratch, left_out, convert=convert)
    first = next(made)
    yield first
    yield from made
    for bundle in bundles:
        yield Contender(
            name=STUDENT,
            runtime=bundle.kind,
            open=partial(opened, bundle.kind, bundle.model),
            see=_as_delivered(bundle),
            kind=bundle.kind,
            file=bundle.model,
            parameters=first.parameters,
            macs=first.macs,
        )


def _bundles(directory: Path, student: str, left_out: list[str]) -> Iterator[Bundle]:
    """The whole bundles of a student that answer here as they did when they were made."""
    for place in bundles_of(directory):
        try:
            bundle = read_bundle(place)
            if bundle.description.student != student:
                left_out.append(f"{EXPORT}/{place.name} is not measured: it was made of another student.")
                continue
            Predictor.opened(bundle, threads=1)
        except LimbeckError as error:
            left_out.append(f"{EXPORT}/{place.name} is not measured: {error.came}; {error.do}.")
            continue
        yield bundle


def _as_delivered(bundle: Bundle) -> Callable[[Tensor], NDArray[Any]]:
    """What is done to stored inputs where a bundle is used: without torch."""
    see = preprocessing(bundle.description.preprocess)
    return lambda stored: see(stored.numpy())


# --- both ------------------------------------------------------------------------------------------------------------


def _network(
    name: str,
    module: nn.Module,
    preprocess: AnyPreprocess,
    folder: Path | None,
    stored: Tensor,
    scratch: Path,
    left_out: list[str],
    *,
    convert: bool = True,
) -> Iterator[Contender]:
    """A network in torch, and as ONNX where it can be converted and is to be."""
    # A copy on the processor: it may be the user's own, whose mode and device stay what they are.
    network = copy.deepcopy(module).cpu().eval()
    see = _seeing(preprocess)
    in_torch = Contender(
        name=name,
        runtime=TORCH,
        open=partial(_in_torch, network),
        see=see,
        kind=None if folder is None else TORCH,
        file=folder,
        parameters=parameters(network),
        macs=multiplications(network, torch.from_numpy(see(stored[:1]))),
    )
    yield in_torch
    if not convert:
        return
    samples = torch.from_numpy(see(stored[:CONVERTED]))
    file = scratch / f"{name}.onnx"
    try:
        write_bytes(file, to_onnx(network, samples, {}).data)
    except LimbeckError as error:
        left_out.append(f"The {name} is not measured as ONNX, which it could not be converted to: {error.came}.")
        return
    yield replace(in_torch, runtime=ONNX, open=partial(opened, ONNX, file), kind=ONNX, file=file)


def _in_torch(network: nn.Module, threads: int) -> Run:
    torch.set_num_threads(threads)
    return run_of(network)


def _seeing(preprocess: AnyPreprocess) -> Callable[[Tensor], NDArray[Any]]:
    return lambda stored: preprocess(stored).contiguous().numpy()
