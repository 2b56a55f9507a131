"""The directory of a run: who may write it, what it must hold to be gone on with, and how it is begun."""

import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from limbeck.bundle import EXPORT
from limbeck.errors import DataError, MissingError, RecipeError
from limbeck.files import disk_errors, path_of, read_json, sweep, write_json, write_text
from limbeck.locks import locked
from limbeck.progress import Stop, Watch, stoppable, unwatched
from limbeck.recipe import Recipe, TeacherEnsemble, TrainedTeacher, tree_of
from limbeck.recipe_text import read_yaml, write_yaml
from limbeck.record import BENCH, RECORD, cores, environment
from limbeck.training import Fit, Place, World

RESOLVED = "recipe.resolved.yaml"
ORIGIN = "origin.json"
"""Which data and which teacher a run was begun with, as sha256, and the precision it was asked in."""

_BEGUN = {RESOLVED, ORIGIN, "environment.json", "run.log"}
_REPORTS = {"report.md", "report.html"}
_MADE = {"labels", "teacher", "assistants", "arms", EXPORT, "metrics.jsonl", RECORD, BENCH, *_REPORTS}

WAIT = 0.1
"""Seconds between two looks at a run that another process has to itself."""

_log = logging.getLogger("limbeck")

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """An open run: its resolved recipe, its directory, and the process's place in it."""

    recipe: Recipe
    directory: Path
    device: torch.device
    world: World
    watch: Watch
    stop: Stop

    def arm_directory(self, arm: str, seed: int) -> Path:
        """Where the student of an arm and seed lies, with all that belongs to it."""
        return self.directory / "arms" / arm / f"seed-{seed}"

    def place(self, directory: Path, **tags: str | int) -> Place:
        """Where one fit of this run happens."""
        log = self.directory / "metrics.jsonl"
        return Place(directory, log, tags, self.device, self.world, self.watch, self.stop)

    def agreed(self, found: bool) -> bool:
        """What rank 0 found: it may be writing by the time that another rank looks."""
        (answer,) = self.world.agree(self.world.leads and found)
        return bool(answer)


def check_out(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a directory that holds something, unless the user said what to do with it.

    A run that ended before it made anything, for want of a teacher perhaps, is begun anew without a word.

    Raises:
        RecipeError: both ways out are named.
        DiskError: the directory cannot be looked into.
    """
    if resume and overwrite:
        raise RecipeError("--resume came with --overwrite", expected="one of them", do="choose")
    with disk_errors(out):
        if out.exists() and not out.is_dir():
            raise RecipeError(f"{out} is a file", expected="a directory for the run", do="set another out")
        found = {path.name for path in out.iterdir()} if out.exists() else set()
    made = {name for name in found - _BEGUN if not name.startswith(".")}  # locks and temporary files are hidden
    if not made or (resume and RESOLVED in found):
        return
    if RESOLVED not in found:
        raise RecipeError(
            f"{out} is not empty and does not look like a run of limbeck",
            expected=f"a new directory, or one with a {RESOLVED}",
            do="set another out, or empty it yourself",
        )
    if not overwrite:
        raise RecipeError(
            f"{out} is not empty",
            expected="a new directory, or a word on what to do with this one",
            do="--resume goes on with the run in it, --overwrite deletes it, --set out=... leaves it alone",
        )


def _check_spared(recipe: Recipe, out: Path) -> None:
    """Refuse to overwrite what the recipe is going to read."""
    leaves = _leaves(tree_of(recipe))
    for key in (key for key in leaves if re.fullmatch(r"(data|teacher(\.members\.\d+)?)\.path", key)):
        read = path_of(leaves[key], key).resolve()
        if any(read.is_relative_to((out / name).resolve()) for name in _MADE):
            raise RecipeError(
                f"--overwrite would delete {key}, {leaves[key]}",
                expected="an out apart from what the run reads",
                do="set another out",
            )


def check_apart(recipe: Recipe, out: Path) -> None:
    """Refuse a run inside the folder that its data are read from: it would be taken for data the next time.

    Raises:
        RecipeError: likewise.
    """
    given = _leaves(tree_of(recipe)).get("data.path")
    if given is None:
        return
    data = path_of(given, "data.path")
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise RecipeError(
            f"out, {out}, lies inside data.path, {data}",
            expected="a directory apart from the data",
            do="set another out",
        )


@contextmanager
def open_run(recipe: Recipe, *, world: World, resume: bool, overwrite: bool, watch: Watch) -> Iterator[Run]:
    """Lock the directory of a run, begin it or go on with it, and keep its log while the block runs.

    Raises:
        RecipeError: the directory is refused, or its run was begun with another recipe.
        DataError: another process is writing it.
        DiskError: it cannot be written.
    """
    out = path_of(recipe.out, "out")
    device = _device(recipe.device)
    with stoppable() as stop:
        if not world.leads:
            world.wait()
            yield Run(_with_threads(recipe, read_yaml(out / RESOLVED)), out, device, world, watch, stop)
            return
        check_out(out, resume=resume, overwrite=overwrite)
        check_apart(recipe, out)
        with locked(out):
            if overwrite:
                _check_spared(recipe, out)
                _empty(out)
            with _logging_to(out / "run.log"):
                resolved = _begin(recipe, out, resume, "--overwrite")
                world.wait()
                yield Run(resolved, out, device, world, watch, stop)


@contextmanager
def join_run(recipe: Recipe, *, world: World, watch: Watch) -> Iterator[tuple[Run, Callable[[], None]]]:
    """Begin a run, or go on with it, beside other processes that do the same, on this machine or on others.

    Each has the run to itself until it calls the second of what is given, which lets the others in.

    Raises:
        RecipeError: the directory is refused, or its run was begun with another recipe.
        DiskError: it cannot be written.
        Interrupted: a stop was asked for while another process had the run.
    """
    out, device = path_of(recipe.out, "out"), _device(recipe.device)
    with stoppable() as stop, ExitStack() as log, ExitStack() as alone:
        if world.leads:
            check_out(out, resume=True, overwrite=False)
            check_apart(recipe, out)
            alone.enter_context(_turn(out, stop))
            log.enter_context(_logging_to(out / "run.log"))
            begun = (out / RESOLVED).exists()
            resolved = _begin(recipe, out, begun, "delete that one with limbeck distill --overwrite")
        world.wait()
        if not world.leads:
            resolved = _with_threads(recipe, read_yaml(out / RESOLVED))
        yield Run(resolved, out, device, world, watch, stop), alone.close


@contextmanager
def _turn(out: Path, stop: Stop) -> Iterator[None]:
    """Hold the lock of a run, once whoever holds it lets go."""
    told = False
    while True:
        with ExitStack() as held:
            try:
                held.enter_context(locked(out))
            except DataError as busy:
                if not told:
                    _log.warning("%s: waiting", busy.came)
                    told = True
            else:
                yield
                return
        stop.raise_if_asked("run the same command again")
        time.sleep(WAIT)


def look_into(recipe: Recipe) -> Run:
    """The run of a recipe as it stands, to be looked at: nothing is locked, written or listened to.

    Where `out` holds no run of this recipe, the directory is one that does not exist.

    Raises:
        MissingError: the device of the recipe is not there.
    """
    out = path_of(recipe.out, "out")
    before = read_yaml(out / RESOLVED) if holds_run_of(recipe, out) else None
    directory = out if before is not None else out / "not-begun"
    return Run(_with_threads(recipe, before), directory, _device(recipe.device), World(), unwatched, Stop())


def holds_run_of(recipe: Recipe, out: Path) -> bool:
    """Whether --resume would go on with what is in `out`."""
    if not (out / RESOLVED).is_file():
        return False
    try:
        before = read_yaml(out / RESOLVED)
        _check_same(before, _with_threads(recipe, before), out)
    except RecipeError:
        return False
    return True


def _begin(recipe: Recipe, out: Path, resume: bool, instead: str) -> Recipe:
    """Write what a run begins with, or hold it against what is there; returns the resolved recipe.

    Args:
        recipe: of the run.
        out: its directory.
        resume: whether it may have been begun.
        instead: how whoever calls may be rid of a run of another recipe.
    """
    sweep(out, sparing=out / "labels")  # where others may be labelling; each store is swept when it is sealed
    before = read_yaml(out / RESOLVED) if resume and (out / RESOLVED).exists() else None
    recipe = _with_threads(recipe, before)
    if before is not None:
        _check_same(before, recipe, out, instead)
        _log.info("resumed")
        if _lasting(before) != _lasting(tree_of(recipe)):  # more seeds or arms: what was trained stays, judged anew
            with disk_errors(out):
                (out / RECORD).unlink(missing_ok=True)
            write_text(out / RESOLVED, write_yaml(tree_of(recipe)))
        return recipe
    if resume:
        _log.warning("nothing to resume in %s: the run begins", out)
    with disk_errors(out):
        (out / ORIGIN).unlink(missing_ok=True)
    write_json(out / "environment.json", environment())
    write_text(out / RESOLVED, write_yaml(tree_of(recipe)))
    return recipe


def check_origin(opened: Run, origin: dict[str, str]) -> None:
    """Hold data or teacher against those the run was begun with: its students learnt from these.

    Raises:
        DataError: another one, named by its key in `origin`.
    """
    if not opened.world.leads:
        return
    before = origin_of(opened.directory)
    changed = [name for name, value in origin.items() if before.get(name, value) != value]
    if changed:
        raise DataError(
            f"{opened.directory} was begun with another {' and another '.join(changed)}",
            expected="the same data and the same teacher, so that all its students learnt from one source",
            do="undo the change, or start a new run in another out, or with --overwrite",
        )
    write_json(opened.directory / ORIGIN, {**before, **origin})


def origin_of(directory: Path) -> dict[str, str]:
    """What a run was begun with, as far as it has come."""
    path = directory / ORIGIN
    return dict(read_json(path)) if path.exists() else {}


def _check_same(before: Any, now: Recipe, out: Path, instead: str = "--overwrite") -> None:
    """Refuse another recipe, but for another name of `out`, and seeds and arms beside those that were there."""
    old, new = _lasting(before), _lasting(tree_of(now))
    old.pop("out", None), new.pop("out", None)
    for key in ("proof.seeds", "proof.arms"):
        if set(old.get(key, [])) <= set(new[key]):
            old[key] = new[key]
    changed = [f"{key}: {old.get(key)} -> {new.get(key)}" for key in {**old, **new} if old.get(key) != new.get(key)]
    if changed:
        raise RecipeError(
            f"{out} was begun with another recipe ({'; '.join(changed[:5])}{' ...' if len(changed) > 5 else ''})",
            expected="the same settings, so that the result is that of one recipe; seeds and arms may be added",
            do=f"undo the change, or start a new run with --set out=..., or {instead}",
        )


def _lasting(tree: Any) -> dict[str, Any]:
    """The values that a run is bound to: what a search may vary is no matter of one run."""
    return {key: value for key, value in _leaves(tree).items() if key.split(".")[0] != "tune"}


def _leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The values of a tree by their dotted keys; a list is a value, unless it is one of mappings."""
    if isinstance(tree, list) and any(isinstance(item, dict) for item in tree):
        tree = dict(enumerate(tree))
    if not isinstance(tree, dict):
        return {prefix: tree}
    parts = [_leaves(value, f"{prefix}.{key}" if prefix else key) for key, value in tree.items()]
    return {key: value for part in parts for key, value in part.items()}


def _with_threads(recipe: Recipe, before: Any) -> Recipe:
    """`threads: auto` as a number: that of the run's beginning, since the bits of its result depend on it."""
    known = _leaves(before)
    recipe = replace(recipe, fit=_counted(recipe.fit, known.get("fit.threads")))
    teacher = recipe.teacher
    if isinstance(teacher, TeacherEnsemble):
        numbered = enumerate(teacher.members)
        members = tuple(_one_with_threads(member, known, f"teacher.members.{number}") for number, member in numbered)
        return replace(recipe, teacher=replace(teacher, members=members))
    return replace(recipe, teacher=_one_with_threads(teacher, known, "teacher"))


def _one_with_threads(teacher: T, known: dict[str, Any], key: str) -> T:
    if not isinstance(teacher, TrainedTeacher):
        return teacher
    return replace(teacher, fit=_counted(teacher.fit, known.get(f"{key}.fit.threads")))


def _counted(fit: Fit, known: Any) -> Fit:
    if fit.threads != "auto":
        return fit
    return replace(fit, threads=known if isinstance(known, int) else cores())


def _device(name: str) -> torch.device:
    if name == "auto":
        return _of_this_rank(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise RecipeError(f"device is {name!r}", expected="auto, cpu, cuda or cuda:N", do="set one")
    device = torch.device(name)
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise MissingError(
            f"device is {name!r}, and torch finds {found or 'no'} GPU{'s' * (found > 1)}",
            expected="that GPU, and a build of torch for it",
            do="set device: cpu, or look at limbeck doctor",
        )
    return _of_this_rank(device)


def _of_this_rank(device: torch.device) -> torch.device:
    """A GPU without a number is the one that the world gave this process."""
    unnumbered = device.type == "cuda" and device.index is None
    return torch.device("cuda", torch.cuda.current_device()) if unnumbered else device


def _empty(out: Path) -> None:
    """Delete what a run leaves, and nothing that the user may have put beside it."""
    with disk_errors(out):
        for path in (out / name for name in sorted(_MADE | _BEGUN)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


class _Log(logging.FileHandler):
    """A log on a full disk is given up: the first file that matters says what is wrong, in one sentence."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Not even a complaint on stderr."""

    def close(self) -> None:
        """What does not fit on the disk is lost."""
        with suppress(OSError):
            super().close()


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    with disk_errors(path):
        handler = _Log(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level = _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(level)
        handler.close()
