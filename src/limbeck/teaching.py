"""Who teaches in a run: the teacher found or trained, looked at, asked once, and the assistants that pass it on.

    teacher --> assistant --> ... --> the students of the arms

Each assistant learns as a student of the arm `distilled` does, from the one before it: teacher assistants (Mirzadeh
2020, arXiv 1902.03393), or generations of the student's own architecture (born-again networks, Furlanello 2018, arXiv
1805.04770).
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.data import derive_seed
from limbeck.errors import DataError, LimbeckError, RecipeError
from limbeck.files import MANIFEST
from limbeck.models import ModelSpec, initialise
from limbeck.objectives import CrossEntropy
from limbeck.preparation import Materials, Prepared
from limbeck.recipe import GivenModel, GivenTeacher, TeacherEnsemble, TrainedTeacher, encoding_of
from limbeck.rundir import Run, check_origin, origin_of
from limbeck.students import check_pairing, check_terms, new_student
from limbeck.teachers import (
    Audience,
    EnsembleTeacher,
    LabelStore,
    Live,
    ModuleTeacher,
    SavedModel,
    Signals,
    Teacher,
    TeacherSpec,
    label,
    load_model,
    preflight,
    save_model,
    set_precision,
    settle_precision,
    teacher_of,
)
from limbeck.training import Lesson, Term, configured, fit, lesson_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Teaching:
    """What the students of a run hear, and from whom.

    Args:
        teacher: the first of the chain.
        found: by the preflight about it, for the record.
        store: of its answers.
        direct: its signals.
        assistants: those after it, in their order.
        signals: of the last of the chain; `direct` where there are no assistants.
    """

    teacher: Teacher
    found: dict[str, Any]
    store: LabelStore
    direct: Signals
    assistants: tuple[ModuleTeacher, ...]
    signals: Signals


def teach(opened: Run, data: Prepared, materials: Materials, *, allow_weak: bool) -> Teaching:
    """Find the teacher, look at it, ask it once, and train the assistants one after another.

    Raises:
        LimbeckError: a teacher that cannot teach these students, in all its kinds.
    """
    teacher = find_teacher(opened, data, materials)
    found = look_at(teacher, data, allow_weak=allow_weak)
    check_chain(opened, data, materials, teacher)
    found |= settle(opened, teacher, data)
    store = ask_once(opened, teacher, data)
    check_origin(opened, {"teacher": store.directory.name})
    _log.info("teacher %s; labels in %s", found, store.directory.name)
    direct = signals = _signals(opened, store, teacher, data)
    assistants: list[ModuleTeacher] = []
    for number in range(1, len(opened.recipe.student.chain) + 1):
        assistants.append(_assistant(opened, number, signals, data, materials))
        store_of_assistant = ask_once(opened, assistants[-1], data)
        signals = _signals(opened, store_of_assistant, assistants[-1], data)
    return Teaching(teacher, found, store, direct, tuple(assistants), signals)


# --- the teacher -----------------------------------------------------------------------------------------------------


def find_teacher(opened: Run, data: Prepared, materials: Materials) -> Teacher:
    """The teacher of a run: handed over, opened, or trained first; or an ensemble of such."""
    spec, directory = opened.recipe.teacher, opened.directory / "teacher"
    taps = opened.recipe.distill.teacher_taps
    audience = Audience(data.given_train, data.preprocess, opened.device, taps)
    if isinstance(spec, GivenTeacher):
        if materials.teacher is None:
            raise RecipeError(
                f"teacher.kind is python ({spec.what})",
                expected="a teacher that a file can name",
                do="call limbeck.distill in Python with the teacher, or set another kind (limbeck list teachers)",
            )
        preprocess = materials.preprocess or data.preprocess
        return teacher_of(materials.teacher, replace(audience, preprocess=preprocess))
    if isinstance(spec, TeacherEnsemble):
        members = [
            _one(opened, member, data, materials, directory / f"member-{number}", number, audience.member(number))
            for number, member in enumerate(spec.members)
        ]
        return EnsembleTeacher(members, spec.weights, spec.mean)
    return _one(opened, spec, data, materials, directory, 0, audience)


def _one(
    opened: Run,
    spec: TrainedTeacher | TeacherSpec,
    data: Prepared,
    materials: Materials,
    directory: Path,
    seed: int,
    audience: Audience,
) -> Teacher:
    """One teacher, trained under a directory from a seed, or opened from where the recipe says."""
    if not isinstance(spec, TrainedTeacher):
        return spec.open(audience)
    saved = _trained(opened, spec, data, materials, directory, seed)
    return ModuleTeacher(saved.module, saved.preprocess, audience.device, audience.taps)


def _trained(
    opened: Run, spec: TrainedTeacher, data: Prepared, materials: Materials, directory: Path, seed: int
) -> SavedModel:
    if opened.agreed((directory / MANIFEST).exists()):
        return load_model(directory)
    examples = data.teacher_train.select(data.teacher_train.labelled)
    if not len(examples):
        raise RecipeError(
            "teacher.kind is train, and no training example has a label",
            expected="labels for the teacher to learn from",
            do="label the data, or bring a teacher that knows already",
        )
    module = initialise(spec.model, examples.input_shape, len(examples.classes), derive_seed(seed, "teacher"))
    preprocess = spec.preprocess or data.preprocess
    check_pairing(module, examples, preprocess)
    untrained = ModuleTeacher(module, preprocess, opened.device, opened.recipe.distill.teacher_taps)
    check_chain(opened, data, materials, untrained)
    lesson = Lesson(examples, None, (Term("student_loss", 1.0, CrossEntropy()),), preprocess)
    with configured(spec.fit):
        place = opened.place(directory, arm="teacher", seed=seed)
        fit(module, lesson, spec.fit, steps=spec.fit.steps(len(examples)), seed=seed, place=place)
    saved = SavedModel(module.cpu(), spec.model, examples.input_shape, examples.classes, preprocess)
    if opened.world.leads:
        save_model(directory, saved)
    opened.world.wait()
    return saved


def look_at(teacher: Teacher, data: Prepared, *, allow_weak: bool) -> dict[str, Any]:
    """The preflight, in which a teacher for other inputs fails in words.

    Raises:
        DataError: likewise, or what `preflight` raises.
    """
    examples = data.teacher_train
    try:
        return preflight(teacher, examples, allow_weak=allow_weak)
    except LimbeckError:
        raise
    except Exception as error:  # whatever a user's forward may raise
        raise DataError(
            f"the teacher failed on examples of shape {examples.input_shape}: {error}",
            expected="a teacher that takes these examples",
            do="give it the layers for this shape, or mend its preprocessing",
        ) from error


# --- what it says ----------------------------------------------------------------------------------------------------


def settle(opened: Run, teacher: Teacher, data: Prepared) -> dict[str, Any]:
    """Let the teacher be asked in the precision of the recipe, or in that which the run has found `auto` to be.

    Raises:
        DataError: bf16 is wanted, and the teacher cannot be asked so or names other classes.
    """
    found: dict[str, Any] = {}
    if opened.world.leads:
        wanted: Any = origin_of(opened.directory).get("precision", opened.recipe.labels.precision)
        found = settle_precision(teacher, data.teacher_train, wanted)
        check_origin(opened, {"precision": found["precision"]})
    lowered = opened.agreed(found.get("precision") == "bf16")
    if not opened.world.leads:
        set_precision(teacher, "bf16" if lowered else "fp32")
    return found


def ask_once(opened: Run, teacher: Teacher, data: Prepared) -> LabelStore:
    """The label store of a run; every rank asks about a part."""
    # Features of every view are asked for at every step: those of the plain examples need no room on the disk.
    live = opened.recipe.distill.views == "live"
    asked = teacher.without_taps() if live and isinstance(teacher, ModuleTeacher) else teacher
    store = label(
        opened.directory / "labels",
        asked,
        data.train,
        encoding=encoding_of(opened.recipe),
        watch=opened.watch,
        stop=opened.stop,
    )
    opened.world.wait()
    return store


def _signals(opened: Run, store: LabelStore, teacher: Teacher, data: Prepared) -> Signals:
    if opened.recipe.distill.views == "live":
        return Live(teacher, data.train, encoding_of(opened.recipe))
    return store.signals


# --- who passes it on ------------------------------------------------------------------------------------------------


def check_chain(opened: Run, data: Prepared, materials: Materials, teacher: Teacher) -> None:
    """Refuse, before anything is trained, a term that cannot compare two neighbours of the chain.

    Raises:
        RecipeError: likewise, with the term's name.
    """
    recipe = opened.recipe
    student = new_student(recipe, data, materials, recipe.proof.seeds[0])
    if "direct" in recipe.proof.arms:
        check_terms(opened, student, teacher, data)
    for number in range(1, len(recipe.student.chain) + 1):
        assistant = _new_assistant(opened, number, data, materials)
        check_pairing(assistant, data.train, recipe.student.preprocess or data.preprocess)
        check_terms(opened, assistant, teacher, data, whose=f"assistant {number}")
        teacher = _as_teacher(opened, assistant, data)
    check_terms(opened, student, teacher, data)


def _assistant(opened: Run, number: int, signals: Signals, data: Prepared, materials: Materials) -> ModuleTeacher:
    """The assistant of that number, from 1, taught by the signals of the one before it."""
    recipe, directory = opened.recipe, opened.directory / "assistants" / str(number)
    module = _new_assistant(opened, number, data, materials)
    spec, preprocess = recipe.student.chain[number - 1], recipe.student.preprocess or data.preprocess
    if opened.agreed((directory / MANIFEST).exists()):
        return _as_teacher(opened, load_model(directory, module).module, data)
    seed = derive_seed("assistant", number)
    lesson = lesson_of("distilled", recipe.distill, data.train, signals, preprocess, seed=seed)
    place = opened.place(directory, arm=f"assistant-{number}", seed=0)
    fit(module, lesson, recipe.fit, steps=recipe.fit.steps(len(data.train)), seed=seed, place=place)
    if opened.world.leads:
        catalogued = None if isinstance(spec, GivenModel) else spec
        save_model(directory, SavedModel(module, catalogued, data.train.input_shape, data.train.classes, preprocess))
    opened.world.wait()
    return _as_teacher(opened, module, data)


def _new_assistant(opened: Run, number: int, data: Prepared, materials: Materials) -> nn.Module:
    """Untrained: a further generation is made as the student is, another model as the catalogue says."""
    student, seed = opened.recipe.student, derive_seed("assistant", number)
    if number > len(student.assistants):
        return new_student(opened.recipe, data, materials, seed)
    spec: ModelSpec = student.assistants[number - 1]
    return initialise(spec, data.train.input_shape, len(data.train.classes), derive_seed(seed, "student"))


def _as_teacher(opened: Run, module: nn.Module, data: Prepared) -> ModuleTeacher:
    recipe = opened.recipe
    preprocess = recipe.student.preprocess or data.preprocess
    return ModuleTeacher(module, preprocess, opened.device, recipe.distill.teacher_taps)
