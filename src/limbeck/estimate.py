"""What a run will take, said before it starts: measured on this machine with the run's own data and networks.

Dimension key: N examples, C classes.
"""

import resource
import sys
import time
from dataclasses import dataclass

import torch
from torch import nn

from limbeck.assistants import as_teacher, new_assistant
from limbeck.data import Examples
from limbeck.files import free_bytes
from limbeck.models import bytes_of
from limbeck.preparation import Materials, Prepared, student_preprocess
from limbeck.recipe import TrainedTeacher, encoding_of
from limbeck.record import memory_bytes
from limbeck.rundir import Run
from limbeck.students import new_student
from limbeck.teachers import BATCH_SIZE, TAP, Asked, ModuleTeacher, Stored, StoreState, Teacher, ask, ask_all, encoded
from limbeck.teaching import beginner, still_to_train
from limbeck.training import KEPT, ArmName, Fit, Lesson, StepCost, configured, lesson_of, step_cost_of

TRIED = 0.7
"""Seconds for which each fit is tried."""
BESIDE = 40
"""Bytes of a record in the store that are not its answer: its key, and what its encoding lost."""


@dataclass(frozen=True)
class Part:
    """A share of an estimate: its name, how much it is, and how that is made up."""

    name: str
    amount: float
    says: str = ""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run takes from where it stands; students that an earlier start has finished are counted all the same.

    Args:
        seconds: of all its stages.
        disk: bytes that it writes.
        memory: bytes of this machine's that it holds at once.
        gpu: bytes of the GPU's memory that a step took and that there are; None without one.
        disk_free: where it writes; None where nobody tells.
        memory_there: of this machine.
    """

    seconds: tuple[Part, ...]
    disk: tuple[Part, ...]
    memory: tuple[Part, ...]
    gpu: tuple[int, int] | None
    disk_free: int | None
    memory_there: int


@dataclass(frozen=True)
class _Fit:
    """A fit that the run will make: how often, and what it costs each time."""

    name: str
    times: int
    seconds: float
    bytes: int


def total(parts: tuple[Part, ...]) -> float:
    """Of an estimate's parts."""
    return sum(part.amount for part in parts)


def estimate(
    opened: Run,
    data: Prepared,
    materials: Materials,
    teacher: Teacher,
    asked: Asked,
    state: StoreState,
    *,
    loading: float,
) -> Estimate:
    """Try every fit of a run for a moment, and reckon up what all of it takes.

    Args:
        opened: the run as it stands.
        data: prepared, which took `loading` seconds.
        materials: from which the student is made.
        teacher: with its taps; untrained where the run is to train it.
        asked: what it said before, and how long an answer took.
        state: of its store.
        loading: the seconds that the data took.

    Raises:
        LimbeckError: what the run itself would raise.
    """
    warming = _first_optimizer(opened.recipe.fit)
    teachers = [_teacher(opened, data, spec, seed) for seed, spec in still_to_train(opened)]
    assistants, heard, answering = _assistants(opened, data, materials, teacher)
    students, measuring = _students(opened, data, materials, heard, asked.seconds_each)
    views = opened.recipe.distill.stored_views
    missing = views * (state.wanted - state.answered)
    each = state.bytes / (views * state.answered) if state.answered else _bytes_each(opened, heard)
    asking = asked.seconds_each * len(data.measured) if asked.teacher.knows(data.measured) else 0.0
    seconds = (
        Part("start", loading + warming),
        Part("teacher", _seconds(teachers)),
        Part("labels", missing * asked.seconds_each, _answers(missing, asked.seconds_each)),
        Part("assistants", _seconds(assistants) + views * answering),
        Part("students", _seconds(students), _product(opened, _seconds(students))),
        Part("measuring", measuring + asking),
    )
    disk = (
        Part("labels", missing * each + len(assistants) * views * state.wanted * each),
        Part("teacher", _bytes(teachers)),
        Part("assistants", _bytes(assistants)),
        Part("students", _bytes(students)),
    )
    return Estimate(
        seconds=tuple(part for part in seconds if part.amount or part.says),
        disk=tuple(part for part in disk if part.amount),
        memory=_memory(views * len(data.train) * _bytes_each(opened, heard)),
        gpu=_gpu(opened.device),
        disk_free=free_bytes(opened.directory),
        memory_there=memory_bytes(),
    )


# --- what is fitted --------------------------------------------------------------------------------------------------


def _teacher(opened: Run, data: Prepared, spec: TrainedTeacher, seed: int) -> _Fit:
    module, lesson = beginner(spec, data, seed)
    with configured(spec.fit):
        return _fit("teacher", 1, module, lesson, spec.fit, len(lesson.examples), opened)


def _assistants(
    opened: Run, data: Prepared, materials: Materials, teacher: Teacher
) -> tuple[list[_Fit], Stored, float]:
    """Their fits, what is heard at the end of the chain, and the seconds in which each answers all examples."""
    recipe, heard, answering = opened.recipe, _heard(opened, teacher, data.train), 0.0
    fits = []
    for number in range(1, len(recipe.student.chain) + 1):
        module = new_assistant(opened, number, data, materials)
        lesson = lesson_of(
            "distilled", recipe.distill.tentative, data.train, heard, student_preprocess(opened.recipe, data), seed=0
        )
        fits.append(_fit(f"assistant {number}", 1, module, lesson, recipe.fit, len(data.train), opened))
        answering += _answering(as_teacher(opened, module, data), data.train)
        heard = _heard(opened, as_teacher(opened, module, data), data.train)
    return fits, heard, answering


def _students(
    opened: Run, data: Prepared, materials: Materials, heard: Stored, seconds_each: float
) -> tuple[list[_Fit], float]:
    """The fits of all arms, and the seconds in which their students are measured."""
    recipe, preprocess = opened.recipe, student_preprocess(opened.recipe, data)
    student = new_student(recipe, data, materials, recipe.proof.seeds[0])
    times, predictions = len(recipe.proof.seeds), 4 * len(data.measured) * len(data.train.classes)
    found: dict[ArmName, _Fit] = {}
    for arm in recipe.proof.arms:
        # Whose doubts these are, and who is heard, costs nothing.
        same: ArmName = "distilled" if arm in ("direct", "shuffled-teacher") else arm
        if same not in found:
            lesson = lesson_of(same, recipe.distill.tentative, data.train, heard, preprocess, seed=0)
            asking = recipe.fit.batch_size * seconds_each if lesson.signals and recipe.distill.views == "live" else 0.0
            found[same] = _fit(arm, times, student, lesson, recipe.fit, len(data.train), opened, asking, predictions)
    fits = [found["distilled" if arm in ("direct", "shuffled-teacher") else arm] for arm in recipe.proof.arms]
    measuring = _answering(ModuleTeacher(student, preprocess, opened.device), data.measured)
    return fits, measuring * times * len(fits)


def _fit(
    name: str,
    times: int,
    module: nn.Module,
    lesson: Lesson,
    settings: Fit,
    examples: int,
    opened: Run,
    asking: float = 0.0,
    beside: int = 0,
) -> _Fit:
    """A fit of the steps for so many examples, each with `asking` seconds more; it writes `beside` bytes as well."""
    cost: StepCost = step_cost_of(
        module, lesson, settings, seed=0, place=opened.place(opened.directory, arm=name), seconds=TRIED
    )
    # The norm of each term's gradient is looked at once.
    steps = settings.steps(examples) + len(lesson.terms)
    seconds = steps * (cost.seconds + asking)
    kept = KEPT if seconds > settings.checkpoint_seconds else 1
    return _Fit(name, times, seconds, kept * cost.bytes + bytes_of(module) + beside)


def _answering(teacher: Teacher, examples: Examples) -> float:
    """The seconds in which a network answers all examples."""
    some = examples.select(torch.arange(min(len(examples), 2 * BATCH_SIZE)))
    ask_all(teacher, some)
    began = time.perf_counter()
    ask_all(teacher, some)
    return (time.perf_counter() - began) / len(some) * len(examples)


def _heard(opened: Run, teacher: Teacher, examples: Examples) -> Stored:
    """Its answer to one example in the place of all: students take as long to learn it, and memory holds it once."""
    encoding, count = encoding_of(opened.recipe), len(examples)
    tensors = encoded(encoding, ask(teacher, examples.inputs[:1], examples.keys[:1]))
    everywhere = {name: values.expand(count, *values.shape[1:]) for name, values in tensors.items()}
    return Stored(everywhere, encoding, len(examples.classes))


# --- reckoning up ----------------------------------------------------------------------------------------------------


def _first_optimizer(settings: Fit) -> float:
    """The seconds that the first optimizer of a process takes: torch loads its compiler then."""
    began = time.perf_counter()
    settings.optimizer.build([nn.Parameter(torch.zeros(1))])
    return time.perf_counter() - began


def _answers(missing: int, each: float) -> str:
    return f"{missing:,} answers x {in_words(each)}" if missing else "all there"


def _seconds(fits: list[_Fit]) -> float:
    return sum(fit.times * fit.seconds for fit in fits)


def _bytes(fits: list[_Fit]) -> int:
    return sum(fit.times * fit.bytes for fit in fits)


def _product(opened: Run, seconds: float) -> str:
    arms, seeds = len(opened.recipe.proof.arms), len(opened.recipe.proof.seeds)
    return f"{arms} arm{'s' * (arms > 1)} x {seeds} seed{'s' * (seeds > 1)} x {in_words(seconds / arms / seeds)}"


def in_words(seconds: float) -> str:
    """A time as people say it, with as many digits as an estimate has."""
    if seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def _bytes_each(opened: Run, heard: Stored) -> int:
    """Of a record in the store; features are asked for on the spot where the teacher is live."""
    live = opened.recipe.distill.views == "live"
    stored = (values for name, values in heard.tensors.items() if not (live and name.startswith(TAP)))
    return BESIDE + sum(values[0].nbytes for values in stored)


def _memory(labels: float) -> tuple[Part, ...]:
    """What this process needed to try every fit, and the labels beside it, which are held twice while they are read."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Part("data and networks", peak), Part("labels", 2 * labels)


def _gpu(device: torch.device) -> tuple[int, int] | None:
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
