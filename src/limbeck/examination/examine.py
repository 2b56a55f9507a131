"""Look at a recipe, its data, its teacher and its students before the run, and change nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from limbeck.assistants import check_chain
from limbeck.errors import LimbeckError, RecipeError
from limbeck.estimate import Estimate, estimate, total
from limbeck.examination.data import look_at_data
from limbeck.examination.finding import Finding, note, ok, problem, warning
from limbeck.examination.teacher import look_at_teacher
from limbeck.files import path_of, verify
from limbeck.models import parameters
from limbeck.preparation import Materials, Prepared, prepare
from limbeck.recipe import Recipe
from limbeck.rundir import RESOLVED, Run, check_apart, check_out, holds_run_of, look_into
from limbeck.students import check_students, new_student
from limbeck.teachers import Asked, ModuleTeacher, StoreState, Teacher, set_precision, settle_precision
from limbeck.teaching import ask_about, find_teacher, still_to_train, store_state, wanted_precision
from limbeck.training import configured

SECONDS = 15.0
"""Of asking the teacher, about training and about validation examples each."""

T = TypeVar("T")


@dataclass(frozen=True)
class Examination:
    """What was found, in the order in which it was looked at, and what the run will take; None if it would not run."""

    findings: tuple[Finding, ...]
    estimate: Estimate | None

    @property
    def status(self) -> int:
        """The exit status of the first problem; 0 without one."""
        return next((finding.status for finding in self.findings if finding.severity == "problem"), 0)


def examine(recipe: Recipe, materials: Materials) -> Examination:
    """Look at all that can be looked at before a run; nothing is trained, and nothing in `out` is touched."""
    began = time.perf_counter()
    look = _Look([])
    data = look.attempt("data", lambda: prepare(recipe, materials))
    if data is None:
        return Examination(tuple(look.findings), None)
    loading = time.perf_counter() - began
    look.add(*look_at_data(data))
    opened = look.attempt("device", lambda: look_into(recipe))
    if opened is None:
        return Examination(tuple(look.findings), None)
    look.attempt("out", lambda: look.add(_out(recipe)))
    with configured(opened.recipe.fit):
        reckoned = _look_at_networks(look, opened, data, materials, loading)
    return Examination(tuple(look.findings), reckoned)


@dataclass(frozen=True)
class _Look:
    """The findings so far."""

    findings: list[Finding]

    def add(self, *findings: Finding) -> None:
        """Further ones."""
        self.findings.extend(findings)

    def attempt(self, name: str, act: Callable[[], T]) -> T | None:
        """What an act gives; what stops it is a problem of that name."""
        try:
            return act()
        except LimbeckError as error:
            self.findings.append(problem(name, error))
            return None


def _look_at_networks(
    look: _Look, opened: Run, data: Prepared, materials: Materials, loading: float
) -> Estimate | None:
    fits = look.attempt("student", lambda: check_students(opened, data, materials))
    teacher = look.attempt("teacher", lambda: find_teacher(opened, data, materials, train=False))
    if teacher is None:
        return None
    if fits is not None:
        look.add(_student(opened, data, materials, teacher))
    asked = _asked(look, opened, data, teacher)
    if asked is None:
        return None
    if fits is not None:
        fits = look.attempt("terms", lambda: _formed(opened, data, materials, teacher))
    state = look.attempt("labels", lambda: _sound(store_state(opened, teacher, data)))
    if state is not None and not still_to_train(opened):
        look.add(_store(state))
    if fits is None or state is None:
        return None
    reckoned = look.attempt(
        "estimate", lambda: estimate(opened, data, materials, teacher, asked, state, loading=loading)
    )
    if reckoned is not None:
        look.add(*_room(reckoned))
    return reckoned


def _formed(opened: Run, data: Prepared, materials: Materials, teacher: Teacher) -> str:
    """Whether every term can be formed along the chain; their names."""
    check_chain(opened, data, materials, teacher)
    return ", ".join(term.name for term in opened.recipe.distill.tentative.loss())


def _asked(look: _Look, opened: Run, data: Prepared, teacher: Teacher) -> Asked | None:
    """What the teacher says about training examples; looks at that, unless it has still to be trained."""
    due = still_to_train(opened)
    look.attempt("precision", lambda: look.add(*_settled(opened, data, teacher)))
    bare = teacher.without_taps() if isinstance(teacher, ModuleTeacher) else teacher
    asked = look.attempt("teacher", lambda: ask_about(bare, data.teacher_train, seconds=SECONDS))
    if due:
        many = f"{len(due)} members of the ensemble are" if len(due) > 1 else "it is"
        look.add(note("teacher", f"{many} trained by the run: answers can be looked at after that"))
    if asked is None or due:
        return asked
    judged, held_out = asked, False
    if data.validation is not None and bare.knows(data.validation):
        held = data.validation
        found = look.attempt("teacher", lambda: ask_about(bare, held, seconds=SECONDS))
        judged, held_out = (found, True) if found is not None else (asked, False)
    look.add(*look_at_teacher(asked, judged, opened.recipe.distill, held_out=held_out))
    return asked


# --- findings of a line ----------------------------------------------------------------------------------------------


def _out(recipe: Recipe) -> Finding:
    """Whether the run may begin where it is to be.

    Raises:
        RecipeError: it may not, whatever is done with what is there.
    """
    out = path_of(recipe.out, "out")
    check_apart(recipe, out)
    if holds_run_of(recipe, out):
        return note("out", f"{out} holds this run", "--resume goes on with it, --overwrite deletes it")
    try:
        check_out(out, resume=False, overwrite=False)
    except RecipeError as error:
        if not (out / RESOLVED).is_file():
            raise
        return warning(
            "out", f"{out} holds a run of another recipe", error.do.replace("--resume goes on with the run in it, ", "")
        )
    return ok("out", f"{out} is free")


def _settled(opened: Run, data: Prepared, teacher: Teacher) -> tuple[Finding, ...]:
    """Lets the teacher be asked as the run will ask it; one that was not trained yet is taken to bear it.

    Raises:
        DataError: it cannot be asked so.
    """
    wanted = wanted_precision(opened)
    if wanted == "fp32":
        return ()
    if still_to_train(opened):
        set_precision(teacher, "bf16" if wanted == "bf16" else "fp32")
        return ()
    found = settle_precision(teacher, data.teacher_train, wanted)
    share = f", which names the class of fp32 on {found['bf16_agreement']:.1%}" if found["precision"] == "bf16" else ""
    return (ok("precision", f"asked in {found['precision']}{share}"),)


def _student(opened: Run, data: Prepared, materials: Materials, teacher: Teacher) -> Finding:
    recipe = opened.recipe
    size = parameters(new_student(recipe, data, materials, recipe.proof.seeds[0]))
    says = f"{size:,} parameters; arms {', '.join(recipe.proof.arms)}"
    if teacher.size is None:
        return ok("student", says)
    if size >= teacher.size:
        return note("student", f"{says}; the teacher has no more, {teacher.size:,}", "a smaller student is the point")
    return ok("student", f"{says}; the teacher has {teacher.size / size:.3g} times as many")


def _sound(state: StoreState) -> StoreState:
    """The same, once every file of a sealed store was held against its checksum.

    Raises:
        DataError: one is missing or damaged.
    """
    if state.sealed:
        verify(state.directory)
    return state


def _store(state: StoreState) -> Finding:
    others = f"; {len(state.others)} of other teachers or settings beside it" if state.others else ""
    name = f"labels/{state.directory.name}"
    if state.answered == 0:
        return ok("labels", f"none yet of {state.wanted:,}, to be kept in {name}{others}")
    kept = f"{state.bytes:,} bytes" + (f" in {state.encoding}" if state.encoding else "")
    if state.answered == state.wanted and state.sealed:
        return ok("labels", f"all {state.wanted:,} are in {name}, sealed, {kept}{others}")
    seal = "sealed before" if state.sealed else "not sealed"
    return note(
        "labels", f"{state.answered:,} of {state.wanted:,} are in {name}, {seal}, {kept}{others}; the rest is asked"
    )


def _room(reckoned: Estimate) -> tuple[Finding, ...]:
    """Where the disk or the memory is too small."""
    found = []
    disk, memory = total(reckoned.disk), total(reckoned.memory)
    if reckoned.disk_free is not None and disk > reckoned.disk_free:
        found.append(
            Finding(
                name="disk",
                severity="problem",
                says=f"the run writes about {disk / 1e9:.2g} GB, and {reckoned.disk_free / 1e9:.2g} GB are free",
                do="free some, or choose another place with --set out=...",
                status=74,
            )
        )
    if memory > reckoned.memory_there:
        found.append(
            warning(
                "memory",
                f"the run holds about {memory / 1e9:.2g} GB at once, of {reckoned.memory_there / 1e9:.2g} GB there are",
                "lower fit.batch_size, raise fit.accumulate, or take a larger machine",
            )
        )
    return tuple(found)
