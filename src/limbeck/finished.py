"""A run that is over, as those read it who export its student or measure what it costs. Nothing in it is changed."""

import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.errors import DataError, RecipeError
from limbeck.files import digest_tensors
from limbeck.preparation import Materials, Prepared, prepare
from limbeck.recipe import GivenData, GivenModel, GivenTeacher, Recipe, read_recipe
from limbeck.record import RECORD, SEARCH, read_record
from limbeck.rundir import RESOLVED, Run, look_into, origin_of
from limbeck.teachers import SavedModel, Teacher, load_model
from limbeck.teaching import find_teacher, still_to_train

ABOVE = 3
"""Directories above the proof of a search, the last of them the run whose teacher it hears."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which student of a run is meant.

    Args:
        arm: None is `distilled`, or the first of the run if that was not trained.
        seed: None is the lowest.
    """

    arm: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Finished:
    """A run with its record.

    Args:
        opened: the run as it stands, unlocked.
        record: of the whole run.
        materials: what Python handed over to it.
    """

    opened: Run
    record: dict[str, Any]
    materials: Materials = field(default_factory=Materials)

    @property
    def directory(self) -> Path:
        """Of the run."""
        return self.opened.directory

    def settled(self, chosen: Chosen) -> tuple[str, int]:
        """Arm and seed of the student that is meant.

        Raises:
            RecipeError: the run has no such student.
        """
        proof = self.record["recipe"]["proof"]
        arm = chosen.arm or ("distilled" if "distilled" in proof["arms"] else proof["arms"][0])
        seed = min(proof["seeds"]) if chosen.seed is None else chosen.seed
        for name, value, known in (("arm", arm, proof["arms"]), ("seed", seed, proof["seeds"])):
            if value not in known:
                raise RecipeError(
                    f"--{name} {value}, and {self.directory} has no student of it",
                    expected=f"one of {', '.join(map(str, known))}",
                    do=f"choose among them, or train it: limbeck distill with proof.{name}s and --resume",
                )
        return arm, seed

    def student(self, arm: str, seed: int) -> SavedModel:
        """The trained student of an arm and seed.

        Raises:
            RecipeError: it was handed over in Python, and is not here.
            DataError: it is damaged.
        """
        given = self.materials.student
        if given is None and isinstance(self.opened.recipe.student.model, GivenModel):
            raise self._in_person("student")
        module = copy.deepcopy(given) if isinstance(given, nn.Module) or given is None else given()
        return load_model(self.opened.arm_directory(arm, seed) / "student", module)

    @cached_property
    def data(self) -> Prepared:
        """What the run learnt from and was measured on.

        Raises:
            RecipeError: they were handed over in Python, and are not here.
            DataError: they cannot be read, or have changed since.
        """
        if self.materials.splits is None and isinstance(self.opened.recipe.data.source, GivenData):
            raise self._in_person("data")
        try:
            data = prepare(self.opened.recipe, self.materials)
        except DataError as error:
            raise DataError(
                error.came,
                expected=error.expected,
                do="call it where the run was trained, from where its recipe names the data; or put them back",
            ) from None
        begun = origin_of(self.directory)
        changed = [name for name, sha256 in data.sha256.items() if begun.get(name, sha256) != sha256]
        if changed:
            raise DataError(
                f"the data of {self.directory} have changed since: another {' and another '.join(changed)}",
                expected="the examples that its students learnt from and were measured on",
                do="put the data back, or run the recipe again",
            )
        return data

    @cached_property
    def home(self) -> Run:
        """The run that has the teacher: this one, or that around the search whose proof this is.

        Raises:
            DataError: the teacher is not there any more.
        """
        places = (self.directory, *self.directory.resolve().parents[:ABOVE])
        runs = (replace(self.opened, directory=place) for place in places)
        home = next((run for run in runs if not still_to_train(run)), None)
        if home is None:
            raise DataError(
                f"{self.directory} has no teacher any more",
                expected="the teacher that the run trained, in its directory teacher",
                do="put it back, or run the recipe again",
            )
        return home

    @cached_property
    def teacher(self) -> Teacher:
        """Who taught.

        Raises:
            RecipeError: it was handed over in Python, and is not here.
            DataError: it is not there any more.
        """
        home = self.home
        if self.materials.teacher is None and isinstance(self.opened.recipe.teacher, GivenTeacher):
            raise self._in_person("teacher")
        return find_teacher(home, self.data, self.materials)

    def _in_person(self, what: str) -> RecipeError:
        return RecipeError(
            f"the {what} of {self.directory} {'were' if what == 'data' else 'was'} handed over in Python",
            expected="what a recipe can name, or the same things once more",
            do="call limbeck.distill again in Python with resume=True, and .export(...) or .bench(...) of its result",
        )


def delivered_form(saved: SavedModel) -> tuple[nn.Module, str]:
    """A student as it is delivered, and the digest of its weights, by which a bundle tells whose it is.

    Returns:
        The network of `saved` itself: on the processor, in float32, in evaluation mode.
    """
    network = saved.module.to("cpu", torch.float32).eval()
    return network, digest_tensors(network.state_dict())


def finished(directory: Path, materials: Materials, recipe: Recipe | None = None) -> Finished:
    """The run in a directory, which must be over.

    Args:
        directory: of the run.
        materials: what was handed over in Python.
        recipe: of the run; None is read from its directory, which an objective of the user's own forbids.

    Raises:
        RecipeError: the directory is that of a search.
        DataError: it holds no run with a record.
    """
    if (directory / SEARCH).exists():
        raise RecipeError(
            f"{directory} is a search",
            expected="a run with students; the best setting of a search has one in its directory proof",
            do=f"name it: {next(iter(sorted(directory.glob('proof/*'))), directory / 'proof')}",
        )
    if not (directory / RESOLVED).is_file() or not (directory / RECORD).is_file():
        raise DataError(
            f"{directory} holds no run that is over",
            expected=f"the directory of a run, with {RESOLVED} and {RECORD}",
            do="check the path, or end the run: limbeck distill RECIPE.yaml --resume",
        )
    record = read_record(directory)
    opened = look_into(recipe or read_recipe(directory / RESOLVED))
    return Finished(replace(opened, directory=directory), record, materials)
