"""The arrows in a row: data -> teacher -> soft labels -> students -> verdict -> record.

Each stage reads files and writes files under the run's directory; a stage that finds its work done passes it over.

Dimension key: S seeds, N examples, C classes.
"""

import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.data import (
    Examples,
    derive_seed,
)
from limbeck.errors import DataError, LimbeckError, RecipeError
from limbeck.files import MANIFEST, digest_tensors, verify, write_tensors
from limbeck.models import bytes_of, initialise, parameters
from limbeck.objectives import CrossEntropy
from limbeck.preparation import Materials, Prepared, prepare
from limbeck.progress import Watch, unwatched
from limbeck.proof import PREDICTIONS, judge
from limbeck.recipe import GivenModel, GivenTeacher, Recipe, SavedTeacher, TrainedTeacher, path_of
from limbeck.record import RECORD, read_record, write_record
from limbeck.rundir import Run, check_origin, open_run
from limbeck.students import check_pairing, check_same_start, check_students, new_student
from limbeck.teachers import (
    LabelStore,
    Live,
    ModuleTeacher,
    SavedModel,
    Signals,
    Teacher,
    ask_all,
    label,
    load_model,
    preflight,
    save_model,
    teacher_of,
)
from limbeck.training import (
    ArmName,
    Lesson,
    Term,
    configured,
    fit,
    gradient_norms,
    join_world,
    lesson_of,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How a run is begun, as far as its result does not depend on it.

    Args:
        resume: go on with the run in `out`.
        overwrite: delete what is in `out` first.
        allow_weak: go on with a teacher that is no better than chance.
        watch: told of progress.
    """

    resume: bool = False
    overwrite: bool = False
    allow_weak: bool = False
    watch: Watch = unwatched


def run(recipe: Recipe, materials: Materials, options: Options) -> dict[str, Any]:
    """Run a recipe from data to record; returns the record, which also lies in its directory.

    Raises:
        LimbeckError: in all its kinds, see `limbeck.errors`.
    """
    world = join_world()
    data = prepare(recipe, materials)
    with (
        open_run(
            recipe, world=world, resume=options.resume, overwrite=options.overwrite, watch=options.watch
        ) as opened,
        configured(opened.recipe.fit),
    ):
        check_origin(opened, data.sha256)
        check_origin(opened, {"student": check_students(opened, data, materials)})
        teacher = find_teacher(opened, data, materials)
        found = look_at(teacher, data.teacher_train, allow_weak=options.allow_weak)
        store = ask_once(opened, teacher, data.train)
        check_origin(opened, {"teacher": store.directory.name})
        _log.info("teacher %s; labels in %s", found, store.directory.name)
        signals = _signals(opened.recipe, store, teacher, data.train)
        for seed in recipe.proof.seeds:
            for arm in recipe.proof.arms:
                train_arm(opened, arm, seed, data, signals, materials)
            check_same_start(opened, seed)
        if world.leads and not _finished(opened.directory):
            judge(opened, data.measured, teacher, store, data=data.facts, preflight=found)
        world.wait()
        record = read_record(opened.directory)
        _log.info("done: %s", record["verdicts"][0]["sentence"])
        return record


# --- teacher and signals ---------------------------------------------------------------------------------------------


def find_teacher(opened: Run, data: Prepared, materials: Materials) -> Teacher:
    """The teacher of a run: handed over, loaded, or trained first."""
    spec = opened.recipe.teacher
    if isinstance(spec, GivenTeacher):
        if materials.teacher is None:
            raise RecipeError(
                f"teacher.kind is python ({spec.what})",
                expected="a teacher that a file can name",
                do="call limbeck.distill in Python with the teacher, or set teacher.kind: saved or train",
            )
        preprocess = materials.preprocess or data.preprocess
        return teacher_of(materials.teacher, data.given_train, preprocess, opened.device)
    saved = _trained(opened, spec, data) if isinstance(spec, TrainedTeacher) else _loaded(spec, data)
    return ModuleTeacher(saved.module, saved.preprocess, opened.device)


def _trained(opened: Run, spec: TrainedTeacher, data: Prepared) -> SavedModel:
    directory = opened.directory / "teacher"
    if _agreed(opened, (directory / MANIFEST).exists()):
        return load_model(directory)
    examples = data.teacher_train.select(data.teacher_train.labelled)
    if not len(examples):
        raise RecipeError(
            "teacher.kind is train, and no training example has a label",
            expected="labels for the teacher to learn from",
            do="label the data, or bring a teacher that knows already",
        )
    shape, classes = examples.input_shape, examples.classes
    module = initialise(spec.model, shape, len(classes), derive_seed(0, "teacher"))
    preprocess = spec.preprocess or data.preprocess
    check_pairing(module, examples, preprocess)
    lesson = Lesson(examples, None, (Term("student_loss", 1.0, CrossEntropy()),), preprocess)
    with configured(spec.fit):
        place = opened.place(directory, arm="teacher", seed=0)
        fit(module, lesson, spec.fit, steps=spec.fit.steps(len(examples)), seed=0, place=place)
    saved = SavedModel(module.cpu(), spec.model, shape, classes, preprocess)
    if opened.world.leads:
        save_model(directory, saved)
    opened.world.wait()
    return saved


def _loaded(spec: SavedTeacher, data: Prepared) -> SavedModel:
    saved = load_model(path_of(spec.path, "teacher.path"))
    if saved.classes != data.train.classes:
        raise DataError(
            f"the teacher in {spec.path} knows the classes {', '.join(saved.classes)}",
            expected=f"those of the data, in their order: {', '.join(data.train.classes)}",
            do="choose a teacher of these classes, or name and order the classes of the data alike",
        )
    return saved


def look_at(teacher: Teacher, examples: Examples, *, allow_weak: bool) -> dict[str, Any]:
    """The preflight, in which a teacher for other inputs fails in words.

    Raises:
        DataError: likewise, or what `preflight` raises.
    """
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


def ask_once(opened: Run, teacher: Teacher, examples: Examples) -> LabelStore:
    """The label store of a run; rank 0 asks, the others read."""
    if not opened.world.leads:
        opened.world.wait()
    store = label(opened.directory / "labels", teacher, examples, watch=opened.watch, stop=opened.stop)
    if opened.world.leads:
        opened.world.wait()
    return store


def _signals(recipe: Recipe, store: LabelStore, teacher: Teacher, examples: Examples) -> Signals:
    if recipe.distill.views == "live":
        return Live(teacher, examples, store.signals.logits.dtype)
    return store.signals


# --- students --------------------------------------------------------------------------------------------------------


def train_arm(opened: Run, arm: ArmName, seed: int, data: Prepared, signals: Signals, materials: Materials) -> None:
    """Train and measure the student of one arm and seed, unless its record says that it was done."""
    directory = opened.arm_directory(arm, seed)
    if _agreed(opened, _finished(directory)):
        verify(directory / "student")
        return
    recipe = opened.recipe
    spec, preprocess = recipe.student.model, recipe.student.preprocess or data.preprocess
    student = new_student(recipe, data, materials, seed)
    check_pairing(student, data.train, preprocess)
    initial = digest_tensors(student.state_dict())
    lesson = lesson_of(arm, recipe.distill, data.train, signals, preprocess, seed=seed)
    place = opened.place(directory, arm=arm, seed=seed)
    norms = gradient_norms(student, lesson, recipe.fit, seed=seed, place=place)
    steps = recipe.fit.steps(len(data.train))
    began = time.perf_counter()
    fit(student, lesson, recipe.fit, steps=steps, seed=seed, place=place)
    seconds = time.perf_counter() - began
    if opened.world.leads:
        catalogued = None if isinstance(spec, GivenModel) else spec
        saved = SavedModel(student, catalogued, data.train.input_shape, data.train.classes, preprocess)
        save_model(directory / "student", saved)
        logits = ask_all(ModuleTeacher(student, preprocess, opened.device), data.measured)
        write_tensors(directory / PREDICTIONS, {"logits": logits})
        facts = {
            "arm": arm,
            "seed": seed,
            "steps": steps,
            "batch_size": recipe.fit.batch_size,
            "distinct_examples": len(lesson.examples) - lesson.examples.duplicates,
            "start": "given weights" if isinstance(materials.student, nn.Module) else "seed",
            "initial_sha256": initial,
            "loss": [asdict(term) for term in lesson.terms],
            "gradient_norms": norms,
            "seconds": seconds,
            "parameters": parameters(student),
            "bytes": bytes_of(student),
        }
        write_record(directory, facts)
        _log.info("%s seed %s: %s steps in %.1f s", arm, seed, steps, seconds)
    opened.world.wait()


def _agreed(opened: Run, found: bool) -> bool:
    """What rank 0 found: it may be writing by the time that another rank looks."""
    (answer,) = opened.world.agree(opened.world.leads and found)
    return bool(answer)


def _finished(directory: Path) -> bool:
    if not (directory / RECORD).exists():
        return False
    read_record(directory)
    return True
