"""Who teaches in a run: the teacher found or trained, looked at, asked once, and the assistants that pass it on.

    teacher --> assistant --> ... --> the students of the arms

Each assistant learns as a student of the arm `distilled` does, from the one before it: teacher assistants (Mirzadeh
2020, arXiv 1902.03393), or generations of the student's own architecture (born-again networks, Furlanello 2018, arXiv
1805.04770).
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.assistants import check_chain, trained_assistant
from limbeck.data import STORED_VIEWS, Examples, Views, derive_seed
from limbeck.errors import DataError, LimbeckError, RecipeError
from limbeck.files import MANIFEST
from limbeck.guess import without_auto
from limbeck.models import initialise
from limbeck.objectives import CrossEntropy
from limbeck.preparation import Materials, Prepared
from limbeck.recipe import GivenTeacher, Recipe, TeacherEnsemble, TrainedTeacher, encoding_of
from limbeck.rundir import Run, check_origin, origin_of
from limbeck.students import check_pairing
from limbeck.teachers import (
    ASKED,
    Asked,
    Audience,
    EnsembleTeacher,
    LabelStore,
    Live,
    ModuleTeacher,
    SavedModel,
    Signals,
    StoreState,
    TableTeacher,
    Teacher,
    TeacherSpec,
    ask_some,
    bare,
    directory_of,
    label,
    load_model,
    look_at_answers,
    save_model,
    set_precision,
    settle_precision,
    state_of,
    teacher_of,
)
from limbeck.teachers.precision import Wanted
from limbeck.training import Lesson, Term, configured, fit

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Teaching:
    """What the students of a run hear, and from whom.

    Args:
        recipe: of the run, with numbers in the place of auto.
        teacher: the first of the chain.
        found: about it by the preflight, and by the first guess where there is one, for the record.
        store: of its answers.
        direct: its signals.
        assistants: those after it, in their order.
        signals: of the last of the chain; `direct` where there are no assistants.
    """

    recipe: Recipe
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
    taught = _taught(opened, teacher, found, store, data)
    _log.info("teacher %s; labels in %s", taught.found, store.directory.name)
    opened, signals = replace(opened, recipe=taught.recipe), taught.direct
    assistants: list[ModuleTeacher] = []
    for number in range(1, len(opened.recipe.student.chain) + 1):
        assistants.append(trained_assistant(opened, number, signals, data, materials))
        store_of_assistant = ask_once(opened, assistants[-1], data)
        signals = _signals(opened, store_of_assistant, assistants[-1], data)
    return replace(taught, assistants=tuple(assistants), signals=signals)


def ask_beside_others(
    opened: Run,
    data: Prepared,
    materials: Materials,
    *,
    let_others_in: Callable[[], None],
    allow_weak: bool,
    looked_at: bool = False,
) -> Teaching:
    """Find the teacher of a run and ask it, beside other processes that do the same; there are no assistants.

    Args:
        opened: the run, which this process has to itself.
        data: what it is asked about.
        materials: where Python hands it over.
        let_others_in: is called once nothing more has to be done alone.
        allow_weak: go on with a teacher no better than chance.
        looked_at: another process has looked at it already.

    Raises:
        LimbeckError: a teacher that cannot teach these students, in all its kinds.
    """
    check_origin(opened, data.sha256)
    teacher = find_teacher(opened, data, materials)
    found = {} if looked_at else look_at(teacher, data, allow_weak=allow_weak)
    found |= settle(opened, teacher, data)
    # While it is alone: two that write the run's files at once would lose something of one.
    check_origin(opened, {"teacher": store_directory(opened, teacher, data).name})
    let_others_in()
    store = ask_once(opened, teacher, data)
    return _taught(opened, teacher, found, store, data)


def _taught(opened: Run, teacher: Teacher, found: dict[str, Any], store: LabelStore, data: Prepared) -> Teaching:
    """What students hear of a teacher that has been asked, with numbers in the place of auto; no assistants yet."""
    opened, guessed = without_auto(opened, store.signals, data)
    signals = _signals(opened, store, teacher, data)
    return Teaching(opened.recipe, teacher, found | guessed, store, signals, (), signals)


# --- the teacher -----------------------------------------------------------------------------------------------------


def find_teacher(opened: Run, data: Prepared, materials: Materials, *, train: bool = True) -> Teacher:
    """The teacher of a run: handed over, opened, or trained first; or an ensemble of such.

    Where it is not to `train`, a network that was not trained yet stands for itself.
    """
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
        return teacher_of(materials.teacher, replace(audience, handed_over=materials.preprocess))
    if isinstance(spec, TeacherEnsemble):
        members = [
            _one(
                opened, member, data, materials, directory / f"member-{number}", number, audience.member(number), train
            )
            for number, member in enumerate(spec.members)
        ]
        return EnsembleTeacher(members, spec.weights, spec.mean)
    return _one(opened, spec, data, materials, directory, 0, audience, train)


def still_to_train(opened: Run) -> tuple[tuple[int, TrainedTeacher], ...]:
    """The teachers that the run has to train before it can ask them, each with its seed."""
    spec, directory = opened.recipe.teacher, opened.directory / "teacher"
    each = [(0, spec, directory)]
    if isinstance(spec, TeacherEnsemble):
        each = [(number, member, directory / f"member-{number}") for number, member in enumerate(spec.members)]
    return tuple(
        (seed, one) for seed, one, place in each if isinstance(one, TrainedTeacher) and not (place / MANIFEST).exists()
    )


def _one(
    opened: Run,
    spec: TrainedTeacher | TeacherSpec,
    data: Prepared,
    materials: Materials,
    directory: Path,
    seed: int,
    audience: Audience,
    train: bool,
) -> Teacher:
    """One teacher, trained under a directory from a seed, or opened from where the recipe says."""
    if not isinstance(spec, TrainedTeacher):
        return spec.open(audience)
    if not train and not (directory / MANIFEST).exists():
        module, lesson = beginner(spec, data, seed)
        return ModuleTeacher(module, lesson.preprocess, audience.device, audience.taps)
    saved = _trained(opened, spec, data, materials, directory, seed)
    return ModuleTeacher(saved.module, saved.preprocess, audience.device, audience.taps)


def _trained(
    opened: Run, spec: TrainedTeacher, data: Prepared, materials: Materials, directory: Path, seed: int
) -> SavedModel:
    if opened.agreed((directory / MANIFEST).exists()):
        return load_model(directory)
    module, lesson = beginner(spec, data, seed)
    untrained = ModuleTeacher(module, lesson.preprocess, opened.device, opened.recipe.distill.teacher_taps)
    check_chain(opened, data, materials, untrained)
    with configured(spec.fit):
        place = opened.place(directory, arm="teacher", seed=seed)
        fit(module, lesson, spec.fit, steps=spec.fit.steps(len(lesson.examples)), seed=seed, place=place)
    saved = SavedModel(
        module.cpu(), spec.model, lesson.examples.input_shape, lesson.examples.classes, lesson.preprocess
    )
    if opened.world.leads:
        save_model(directory, saved)
    opened.world.wait()
    return saved


def beginner(spec: TrainedTeacher, data: Prepared, seed: int) -> tuple[nn.Module, Lesson]:
    """A teacher before it is trained, and what it is to learn: the labels alone.

    Raises:
        RecipeError: there are none, or the model does not fit the data.
    """
    examples = data.teacher_train.select(data.teacher_train.labelled)
    if not len(examples):
        raise RecipeError(
            "teacher.kind is train, and no training example has a label",
            expected="labels for the teacher to learn from",
            do="label the data, or bring a teacher that knows already",
        )
    preprocess = spec.preprocess or data.preprocess
    shape = preprocess.output_shape(examples.input_shape)
    module = initialise(spec.model, shape, len(examples.classes), derive_seed(seed, "teacher"))
    check_pairing(module, examples, preprocess)
    return module, Lesson(examples, None, (Term("student_loss", 1.0, CrossEntropy()),), preprocess)


def look_at(teacher: Teacher, data: Prepared, *, allow_weak: bool) -> dict[str, Any]:
    """The preflight; what a run goes on with, and its user should know, is told.

    Raises:
        DataError: what `ask_about` or `look_at_answers` raises.
    """
    found = look_at_answers(ask_about(teacher, data.teacher_train), allow_weak=allow_weak)
    for remark in found["remarks"]:
        _log.warning("%s (limbeck doctor looks closer)", remark)
    return found


def ask_about(teacher: Teacher, examples: Examples, *, most: int = ASKED, seconds: float = math.inf) -> Asked:
    """Ask a teacher about some examples as `ask_some` does; one for other inputs fails in words.

    Raises:
        DataError: likewise, or what `ask_some` raises.
    """
    try:
        return ask_some(teacher, examples, most=most, seconds=seconds)
    except LimbeckError:
        raise
    except Exception as error:  # whatever a user's forward may raise
        raise DataError(
            f"the teacher failed on examples of shape {examples.input_shape}: {error}",
            expected="a teacher that takes these examples",
            do="give it the layers for this shape, or mend its preprocessing",
        ) from error


# --- what it says ----------------------------------------------------------------------------------------------------


def wanted_precision(opened: Run) -> Wanted:
    """That of the recipe, or what the run has found `auto` to be."""
    found: Any = origin_of(opened.directory).get("precision", opened.recipe.labels.precision)
    return found  # type: ignore[no-any-return]


def settle(opened: Run, teacher: Teacher, data: Prepared) -> dict[str, Any]:
    """Let the teacher be asked in the precision of the recipe, or in that which the run has found `auto` to be.

    Raises:
        DataError: bf16 is wanted, and the teacher cannot be asked so or names other classes.
    """
    found: dict[str, Any] = {}
    if opened.world.leads:
        found = settle_precision(teacher, data.teacher_train, wanted_precision(opened))
        check_origin(opened, {"precision": found["precision"]})
    lowered = opened.agreed(found.get("precision") == "bf16")
    if not opened.world.leads:
        set_precision(teacher, "bf16" if lowered else "fp32")
    return found


def views_of(recipe: Recipe, examples: Examples) -> Views | None:
    """The views that are labelled; None is the plain example."""
    count = recipe.distill.stored_views
    return None if count == 1 else Views(examples, recipe.fit.augment, seed=STORED_VIEWS, cycle=count)


def ask_once(opened: Run, teacher: Teacher, data: Prepared) -> LabelStore:
    """The label store of a run; every rank asks about a part.

    Raises:
        RecipeError: views are to be asked about, and the teacher knows the plain examples alone.
        LimbeckError: what `label` raises.
    """
    _check_sees(opened, teacher)
    store = label(
        opened.directory / "labels",
        _labelling(opened, teacher),
        data.train,
        views=views_of(opened.recipe, data.train),
        encoding=encoding_of(opened.recipe),
        watch=opened.watch,
        stop=opened.stop,
    )
    opened.world.wait()
    return store


def _check_sees(opened: Run, teacher: Teacher) -> None:
    """Whether the teacher looks at what students see, where it is asked about that."""
    views = opened.recipe.distill.views
    if views != 1 and opened.recipe.fit.augment.active and _is_table(teacher):
        raise RecipeError(
            f"distill.views is {views}, and the teacher, or a member of it, is a table of answers about plain examples",
            expected="a teacher that can be asked about views",
            do="set distill.views: 1, or leave out fit.augment",
        )


def _is_table(teacher: Teacher) -> bool:
    return isinstance(teacher, TableTeacher) or any(map(_is_table, teacher.within))


def store_directory(opened: Run, teacher: Teacher, data: Prepared) -> Path:
    """Of the store that `ask_once` would begin or go on with."""
    views, encoding = views_of(opened.recipe, data.train), encoding_of(opened.recipe)
    return directory_of(
        opened.directory / "labels", _labelling(opened, teacher), data.train, views=views, encoding=encoding
    )


def store_state(opened: Run, teacher: Teacher, data: Prepared) -> StoreState:
    """How far the labelling has come that `ask_once` would begin or go on with.

    Raises:
        DataError: the store is damaged.
    """
    encoding = encoding_of(opened.recipe)
    root, views = opened.directory / "labels", views_of(opened.recipe, data.train)
    return state_of(root, _labelling(opened, teacher), data.train, views=views, encoding=encoding)


def _labelling(opened: Run, teacher: Teacher) -> Teacher:
    """The teacher as the store asks it.

    Where it is live, features of every view are asked for at every step: those of the plain examples need no room.
    """
    live = opened.recipe.distill.views == "live"
    return bare(teacher) if live else teacher


def _signals(opened: Run, store: LabelStore, teacher: Teacher, data: Prepared) -> Signals:
    if opened.recipe.distill.views == "live":
        return Live(teacher, data.train, encoding_of(opened.recipe))
    return store.signals
