"""The arrows in a row: data -> teacher -> soft labels -> students -> verdict -> record.

Each stage reads files and writes files under the run's directory; a stage that finds its work done passes it over.

Dimension key: S seeds, N examples, C classes.
"""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.data import (
    UNLABELLED,
    Examples,
    Preprocess,
    Splits,
    derive_seed,
    hold_out,
    labelled_subset,
    overlap,
)
from limbeck.errors import DataError, RecipeError
from limbeck.files import digest_tensors, write_tensors
from limbeck.models import bytes_of, check_output, initialise, parameters
from limbeck.objectives import CrossEntropy
from limbeck.progress import Watch, unwatched
from limbeck.proof import PREDICTIONS, judge
from limbeck.recipe import GivenData, GivenModel, GivenTeacher, Recipe, SavedTeacher, TrainedTeacher, path_of
from limbeck.record import RECORD, read_record, write_record
from limbeck.rundir import Run, check_origin, open_run
from limbeck.teachers import (
    LabelStore,
    Live,
    ModuleTeacher,
    SavedModel,
    Signals,
    Stored,
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
class Materials:
    """What Python code hands over in person, where a recipe would name it.

    Args:
        splits: the data.
        teacher: an nn.Module, a function or an array of answers.
        student: makes the student, or is one whose weights are the start.
        preprocess: what such a teacher takes; None is what the data suggest.
    """

    splits: Splits | None = None
    teacher: Any = None
    student: Callable[[], nn.Module] | nn.Module | None = None
    preprocess: Preprocess | None = None


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


@dataclass(frozen=True)
class Prepared:
    """The data of a run, parted.

    Args:
        given_train: the training examples as they came, before any was held out.
        teacher_train: training examples with all their labels.
        train: what students learn from, labels hidden where the recipe says so.
        measured: what the verdict speaks of, the test or the validation set.
        preprocess: what the source declares.
        facts: counts for the record.
    """

    given_train: Examples
    teacher_train: Examples
    train: Examples
    measured: Examples
    preprocess: Preprocess
    facts: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Of the keys and labels of what students learn from and of what is measured."""
        sides = {"training set": self.train, "measured set": self.measured}
        return {name: digest_tensors({"keys": side.keys, "labels": side.labels}) for name, side in sides.items()}


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
        check_students(recipe, data, materials)
        teacher = find_teacher(opened, data, materials)
        found = look_at(teacher, data.teacher_train, allow_weak=options.allow_weak)
        store = ask_once(opened, teacher, data.train)
        check_origin(opened, {"teacher": store.directory.name})
        signals = _signals(opened.recipe, store, teacher, data.train)
        for seed in recipe.proof.seeds:
            for arm in recipe.proof.arms:
                train_arm(opened, arm, seed, data, signals, materials)
            _check_same_start(opened, seed)
        if world.leads and not _finished(opened.directory):
            judge(opened, data.measured, teacher, store, data=data.facts, preflight=found)
        world.wait()
        return read_record(opened.directory)


# --- data ----------------------------------------------------------------------------------------------------------


def prepare(recipe: Recipe, materials: Materials) -> Prepared:
    """Load the data and part it: what the teacher may see, what students see, what is measured.

    Raises:
        RecipeError: a choice of examples that the data do not allow.
        DataError: data that cannot be read, or of which nothing is left to learn from or to measure.
    """
    if materials.splits is None and isinstance(recipe.data.source, GivenData):
        raise RecipeError(
            "data.source is python",
            expected="a source that a file can name",
            do="call limbeck.distill in Python with the arrays, or name a source (limbeck list sources)",
        )
    splits = materials.splits or recipe.data.source.load()  # type: ignore[union-attr]
    shared = overlap(splits.train, splits.test)
    test = splits.test
    if recipe.data.drop_overlap and len(shared):
        keep = torch.ones(len(test), dtype=torch.bool)
        keep[shared] = False
        test = test.select(keep)
    train, measured = splits.train, test
    if recipe.data.validation:
        rest, held = hold_out(train, recipe.data.validation, "validation")
        train, validation = train.select(rest), train.select(held)
        measured = validation if recipe.proof.on == "validation" else test
    heard = _hide(train, recipe)
    _check_left(heard, measured)
    facts = {
        "source": recipe.data.source.source,
        "classes": list(train.classes),
        "input_shape": list(train.inputs.shape[1:]),
        "teacher_train": len(train),
        "teacher_labelled": _labelled(train),
        "student_train": len(heard),
        "student_labelled": _labelled(heard),
        "validation_labels": _labelled(splits.train) - _labelled(train),
        "measured_on": recipe.proof.on,
        "measured": len(measured),
        "official_test": splits.official,
        "overlap": len(shared),
        "overlap_dropped": recipe.data.drop_overlap,
        "duplicates": train.duplicates,
    }
    return Prepared(splits.train, train, heard, measured, splits.preprocess, facts)


def _check_left(heard: Examples, measured: Examples) -> None:
    for what, count in (("train on", len(heard)), ("measure", len(measured))):
        if not count:
            raise DataError(
                f"no example is left to {what}",
                expected="at least one",
                do="look at data.labelled, data.unlabelled and data.drop_overlap, and at what the data hold",
            )
    met = heard.labels[heard.labels != UNLABELLED].unique()
    if len(met) == 1:
        raise DataError(
            f"all labels of the training set are {heard.classes[met[0]]}",
            expected=f"labels of at least two of its {len(heard.classes)} classes",
            do="look at the labels, and whether the data are sorted and were cut",
        )


def _hide(train: Examples, recipe: Recipe) -> Examples:
    """The training examples with only the labels that students may see."""
    if recipe.data.labelled is None:
        return train if recipe.data.unlabelled else train.select(train.labels != UNLABELLED)
    if not _labelled(train):
        raise RecipeError(
            f"data.labelled is {recipe.data.labelled}, and no training example has a label",
            expected="labels to choose from",
            do="set data.labelled: null, or label some examples",
        )
    chosen = labelled_subset(train, recipe.data.labelled, "labelled")
    if not recipe.data.unlabelled:
        return train.select(chosen)
    visible = torch.zeros(len(train), dtype=torch.bool)
    visible[chosen] = True
    return train.hide_labels(visible)


def _labelled(examples: Examples) -> int:
    return int((examples.labels != UNLABELLED).sum())


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
    if (directory / "manifest.json").exists():
        return load_model(directory)
    examples = data.teacher_train.select(data.teacher_train.labels != UNLABELLED)
    if not len(examples):
        raise RecipeError(
            "teacher.kind is train, and no training example has a label",
            expected="labels for the teacher to learn from",
            do="label the data, or bring a teacher that knows already",
        )
    shape, classes = tuple(examples.inputs.shape[1:]), examples.classes
    module = initialise(spec.model, shape, len(classes), derive_seed(0, "teacher"))
    preprocess = spec.preprocess or data.preprocess
    _check_pairing(module, examples, preprocess)
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
    """The preflight, in which a teacher for other inputs fails in words."""
    try:
        return preflight(teacher, examples, allow_weak=allow_weak)
    except RuntimeError as error:
        raise DataError(
            f"the teacher failed on examples of shape {tuple(examples.inputs.shape[1:])}: {error}",
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
    directory = opened.directory / "arms" / arm / f"seed-{seed}"
    if _finished(directory):
        return
    recipe = opened.recipe
    spec, preprocess = recipe.student.model, recipe.student.preprocess or data.preprocess
    student = new_student(recipe, data, materials, seed)
    _check_pairing(student, data.train, preprocess)
    initial = digest_tensors(student.state_dict())
    lesson = lesson_of(arm, recipe.distill, data.train, signals, preprocess)
    place = opened.place(directory, arm=arm, seed=seed)
    norms = gradient_norms(student, lesson, recipe.fit, seed=seed, place=place)
    steps = recipe.fit.steps(len(data.train))
    began = time.perf_counter()
    fit(student, lesson, recipe.fit, steps=steps, seed=seed, place=place)
    seconds = time.perf_counter() - began
    if opened.world.leads:
        shape = tuple(data.train.inputs.shape[1:])
        catalogued = None if isinstance(spec, GivenModel) else spec
        saved = SavedModel(student, catalogued, shape, data.train.classes, preprocess)
        save_model(directory / "student", saved)
        logits = ask_all(ModuleTeacher(student, preprocess, opened.device), data.measured)
        write_tensors(directory / PREDICTIONS, {"logits": logits})
        facts = {
            "arm": arm,
            "seed": seed,
            "steps": steps,
            "batch_size": recipe.fit.batch_size,
            "distinct_examples": len(lesson.examples) - lesson.examples.duplicates,
            "initial_sha256": initial,
            "loss": [asdict(term) for term in lesson.terms],
            "gradient_norms": norms,
            "seconds": seconds,
            "parameters": parameters(student),
            "bytes": bytes_of(student),
        }
        write_record(directory, facts)
    opened.world.wait()


def check_students(recipe: Recipe, data: Prepared, materials: Materials) -> None:
    """Refuse, before an hour goes into the teacher, what cannot be trained in the end.

    Raises:
        RecipeError: a student that does not fit the data or is another each time it is made, or an arm that lacks
            labels.
    """
    preprocess, seed = recipe.student.preprocess or data.preprocess, recipe.proof.seeds[0]
    once, again = (new_student(recipe, data, materials, seed) for _ in range(2))
    _check_pairing(once, data.train, preprocess)
    _check_same(seed, {"once": digest_tensors(once.state_dict()), "again": digest_tensors(again.state_dict())})
    unheard = Stored(torch.zeros(len(data.train), 1))
    for arm in recipe.proof.arms:
        lesson_of(arm, recipe.distill, data.train, unheard, preprocess)


def new_student(recipe: Recipe, data: Prepared, materials: Materials, seed: int) -> nn.Module:
    """The untrained student of a seed: its weights are f(seed, "student"), or those of the instance given."""
    spec = recipe.student.model
    if isinstance(materials.student, nn.Module):
        return copy.deepcopy(materials.student).cpu()
    maker = materials.student if isinstance(spec, GivenModel) else spec
    if maker is None or isinstance(maker, GivenModel):
        raise RecipeError(
            f"student.model is python ({spec.name})",
            expected="a model that a file can name",
            do="call limbeck.distill in Python with the student, or name a model (limbeck list models)",
        )
    shape = tuple(data.train.inputs.shape[1:])
    return initialise(maker, shape, len(data.train.classes), derive_seed(seed, "student"))


def _check_pairing(module: nn.Module, examples: Examples, preprocess: Preprocess) -> None:
    """Whether a model takes these examples and answers with these classes."""
    two = preprocess(examples.inputs[torch.arange(2) % len(examples)])
    check_output(module, two, len(examples.classes))


def _check_same_start(opened: Run, seed: int) -> None:
    """The arms of a seed must have begun with one student, or they are no comparison."""
    directories = {arm: opened.directory / "arms" / arm / f"seed-{seed}" for arm in opened.recipe.proof.arms}
    _check_same(seed, {arm: read_record(directory)["initial_sha256"] for arm, directory in directories.items()})


def _check_same(seed: int, starts: dict[str, str]) -> None:
    if len(set(starts.values())) > 1:
        raise RecipeError(
            f"the students of seed {seed} begin with different weights, "
            + ", ".join(f"{name} {sha256[:12]}" for name, sha256 in starts.items()),
            expected="one untrained student for all arms of a seed",
            do="let the student's factory take its randomness from torch alone",
        )


def _finished(directory: Path) -> bool:
    if not (directory / RECORD).exists():
        return False
    read_record(directory)
    return True
