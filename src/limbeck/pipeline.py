"""The arrows in a row: data -> teacher -> soft labels -> students -> verdict -> record.

Each stage reads files and writes files under the run's directory; a stage that finds its work done passes it over.

Dimension key: S seeds, N examples, C classes.
"""

import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.errors import DataError
from limbeck.files import MANIFEST, digest_tensors, path_of, verify, write_tensors
from limbeck.models import bytes_of, parameters
from limbeck.preparation import Materials, Prepared, prepare, student_preprocess
from limbeck.progress import Watch, unwatched
from limbeck.proof import PREDICTIONS, judge
from limbeck.recipe import GivenModel, Recipe
from limbeck.record import RECORD, read_record, write_record
from limbeck.rundir import Run, check_origin, join_run, open_run
from limbeck.students import answers, check_pairing, check_same_start, check_students, new_student
from limbeck.teachers import LabelStore, SavedModel, Signals, save_model
from limbeck.teaching import ask_beside_others, teach
from limbeck.training import ArmName, Rungs, configured, fit, gradient_norms, join_world, lesson_of

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
        _log.info("data %s", data.facts)
        check_origin(opened, data.sha256)
        check_origin(opened, {"student": check_students(opened, data, materials)})
        teaching = teach(opened, data, materials, allow_weak=options.allow_weak)
        opened = replace(opened, recipe=teaching.recipe)
        for seed in recipe.proof.seeds:
            for arm in recipe.proof.arms:
                signals = teaching.direct if arm == "direct" else teaching.signals
                train_arm(opened, arm, seed, data, signals, materials)
            check_same_start(opened, seed)
        if world.leads and not _finished(opened.directory):
            judge(opened, data, teaching)
        world.wait()
        record = read_record(opened.directory)
        _log.info("done: %s", record["verdicts"][0]["sentence"])
        return record


def ask_teacher(recipe: Recipe, materials: Materials, options: Options) -> LabelStore:
    """The first stage of a run alone: the teacher found or trained, looked at, and asked about every example.

    Several processes may do so at once for one `out`, under torchrun or on machines that share the directory: the first
    trains the teacher if it is to be trained, and all ask.

    Raises:
        LimbeckError: in all its kinds, see `limbeck.errors`.
    """
    world = join_world()
    data = prepare(recipe, materials)
    with (
        join_run(recipe, world=world, watch=options.watch) as (opened, let_others_in),
        configured(opened.recipe.fit),
    ):
        asked = ask_beside_others(opened, data, materials, let_others_in=let_others_in, allow_weak=options.allow_weak)
        return asked.store


def verify_labels(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """The manifests of all label stores of a run by their names, every file of theirs held against its checksum.

    Raises:
        DataError: there are none, or a file is missing or damaged.
    """
    root = path_of(recipe.out, "out") / "labels"
    stores = sorted(path.parent for path in root.glob(f"*/{MANIFEST}"))
    if not stores:
        raise DataError(
            f"{root} holds no label store",
            expected="the stores of a run whose teacher has been asked",
            do="run limbeck label first, or set out",
        )
    return {store.name: verify(store) for store in stores}


# --- students --------------------------------------------------------------------------------------------------------


def train_arm(
    opened: Run,
    arm: ArmName,
    seed: int,
    data: Prepared,
    signals: Signals,
    materials: Materials,
    rungs: Rungs | None = None,
) -> None:
    """Train and measure the student of one arm and seed, unless its record says that it was done.

    Where there are rungs it is looked at on the way.
    """
    directory = opened.arm_directory(arm, seed)
    if opened.agreed(_finished(directory)):
        verify(directory / "student")
        return
    recipe = opened.recipe
    spec, preprocess = recipe.student.model, student_preprocess(recipe, data)
    student = new_student(recipe, data, materials, seed)
    check_pairing(student, data.train, preprocess)
    initial = digest_tensors(student.state_dict())
    lesson = lesson_of(arm, recipe.distill, data.train, signals, preprocess, seed=seed)
    place = opened.place(directory, arm=arm, seed=seed)
    norms = gradient_norms(student, lesson, recipe.fit, seed=seed, place=place)
    steps = recipe.fit.steps(len(data.train))
    began = time.perf_counter()
    fit(student, lesson, recipe.fit, steps=steps, seed=seed, place=place, rungs=rungs)
    seconds = time.perf_counter() - began
    if opened.world.leads:
        catalogued = None if isinstance(spec, GivenModel) else spec
        saved = SavedModel(student, catalogued, data.train.input_shape, data.train.classes, preprocess)
        save_model(directory / "student", saved)
        write_tensors(directory / PREDICTIONS, {"logits": answers(opened, student, data, data.measured)})
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


def _finished(directory: Path) -> bool:
    if not (directory / RECORD).exists():
        return False
    read_record(directory)
    return True
