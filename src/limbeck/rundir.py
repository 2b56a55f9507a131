"""The directory of a run: who may write it, what it must hold to be gone on with, and how it is begun."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from limbeck.errors import MissingError, RecipeError
from limbeck.files import disk_errors, locked, sweep, write_json, write_text
from limbeck.progress import Stop, Watch, stoppable
from limbeck.recipe import Recipe, TrainedTeacher, tree_of
from limbeck.recipe_text import read_yaml, write_yaml
from limbeck.record import environment
from limbeck.training import Fit, Place, World

RESOLVED = "recipe.resolved.yaml"
_OURS = {"recipe.yaml", RESOLVED, "environment.json", "run.log", ".lock", ".lock-holder"}

_log = logging.getLogger("limbeck")


@dataclass(frozen=True)
class Run:
    """An open run: its resolved recipe, its directory, and the process's place in it."""

    recipe: Recipe
    directory: Path
    device: torch.device
    world: World
    watch: Watch
    stop: Stop

    def place(self, directory: Path, **tags: str | int) -> Place:
        """Where one fit of this run happens."""
        log = self.directory / "metrics.jsonl"
        return Place(directory, log, tags, self.device, self.world, self.watch, self.stop)


def check_out(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a directory that holds something, unless the user said what to do with it.

    Raises:
        RecipeError: both ways out are named.
    """
    if resume and overwrite:
        raise RecipeError("--resume came with --overwrite", expected="one of them", do="choose")
    if out.exists() and not out.is_dir():
        raise RecipeError(f"{out} is a file", expected="a directory for the run", do="set another out")
    if resume or not out.exists() or not any(out.iterdir()):
        return
    if not overwrite:
        raise RecipeError(
            f"{out} is not empty",
            expected="a new directory, or a word on what to do with this one",
            do="--resume goes on with the run in it, --overwrite deletes it, --set out=... leaves it alone",
        )
    if not (out / RESOLVED).exists() and not {path.name for path in out.iterdir()} <= _OURS:
        raise RecipeError(
            f"{out} is not empty and does not look like a run of limbeck",
            expected=f"a directory with a {RESOLVED} before anything in it is deleted",
            do="set another out, or empty it yourself",
        )


@contextmanager
def open_run(recipe: Recipe, *, world: World, resume: bool, overwrite: bool, watch: Watch) -> Iterator[Run]:
    """Lock the directory of a run, begin it or go on with it, and keep its log while the block runs.

    Raises:
        RecipeError: the directory is refused, or its run was begun with another recipe.
        DataError: another process is writing it.
        DiskError: it cannot be written.
    """
    out = Path(recipe.out).expanduser()
    device = _device(recipe.device)
    with stoppable() as stop:
        if not world.leads:
            world.wait()
            yield Run(_with_threads(recipe, read_yaml(out / RESOLVED)), out, device, world, watch, stop)
            return
        check_out(out, resume=resume, overwrite=overwrite)
        with locked(out):
            if overwrite:
                _empty(out)
            resolved = _begin(recipe, out, resume)
            with _logging_to(out / "run.log"):
                world.wait()
                yield Run(resolved, out, device, world, watch, stop)


def _begin(recipe: Recipe, out: Path, resume: bool) -> Recipe:
    """Write what a run begins with, or hold it against what is there; returns the resolved recipe."""
    sweep(out)
    before = read_yaml(out / RESOLVED) if resume and (out / RESOLVED).exists() else None
    recipe = _with_threads(recipe, before)
    if before is not None:
        _check_same(before, recipe, out)
        _log.info("resumed")
        return recipe
    if resume:
        _log.warning("nothing to resume in %s: the run begins", out)
    write_json(out / "environment.json", environment())
    write_text(out / RESOLVED, write_yaml(tree_of(recipe)))
    return recipe


def _check_same(before: Any, now: Recipe, out: Path) -> None:
    old, new = _leaves(before), _leaves(tree_of(now))
    old.pop("out", None), new.pop("out", None)
    changed = [f"{key}: {old.get(key)} -> {new.get(key)}" for key in {**old, **new} if old.get(key) != new.get(key)]
    if changed:
        raise RecipeError(
            f"{out} was begun with another recipe ({'; '.join(changed[:5])}{' ...' if len(changed) > 5 else ''})",
            expected="the same settings, so that the result is that of one recipe",
            do="undo the change, or start a new run with --set out=..., or --overwrite",
        )


def _leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    parts = [_leaves(value, f"{prefix}.{key}" if prefix else key) for key, value in tree.items()]
    return {key: value for part in parts for key, value in part.items()}


def _with_threads(recipe: Recipe, before: Any) -> Recipe:
    """`threads: auto` as a number: that of the run's beginning, since the bits of its result depend on it."""
    known = _leaves(before)
    recipe = replace(recipe, fit=_counted(recipe.fit, known.get("fit.threads")))
    if isinstance(recipe.teacher, TrainedTeacher):
        fit = _counted(recipe.teacher.fit, known.get("teacher.fit.threads"))
        recipe = replace(recipe, teacher=replace(recipe.teacher, fit=fit))
    return recipe


def _counted(fit: Fit, known: Any) -> Fit:
    if fit.threads != "auto":
        return fit
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return replace(fit, threads=known if isinstance(known, int) else cores)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RecipeError(f"device is {name!r}", expected="auto, cpu, cuda or cuda:N", do="set one") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise MissingError(
            f"device is {name!r}, and torch finds no GPU",
            expected="a GPU and a build of torch for it",
            do="set device: cpu, or look at limbeck doctor",
        )
    return device


def _empty(out: Path) -> None:
    with disk_errors(out):
        for path in out.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name not in (".lock", ".lock-holder"):
                path.unlink()


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    with disk_errors(path):
        handler = logging.FileHandler(path, encoding="utf-8")
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
