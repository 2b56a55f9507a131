"""What all trials of a search stand on: the data, the teacher's answers, the recipe that each of them changes."""

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from limbeck.data import Examples
from limbeck.files import disk_errors, make_directory, write_json, write_text
from limbeck.locks import turn
from limbeck.preparation import Materials, Prepared
from limbeck.progress import Watch
from limbeck.recipe import Recipe, recipe_from_tree, tree_of
from limbeck.recipe_text import write_yaml
from limbeck.record import environment
from limbeck.rundir import RESOLVED, Run
from limbeck.search_space import Tune
from limbeck.teaching import Teaching

WAIT, LONGEST_WAIT = 0.1, 2.0
"""Seconds between two looks at what other processes are at, twice as many after each, up to the second."""
SEARCH_SEEDS = 1000
"""From which the seeds of trials are counted: far from those of a proof, which must be fresh."""


@dataclass(frozen=True)
class Ground:
    """What all trials of a search stand on.

    Args:
        opened: the run to which the search belongs; its recipe has the threads that each student is trained with.
        directory: of the search.
        data: whose measured examples are the test set, which only the proof reads.
        teaching: what the teacher said.
        materials: from which students are made.
    """

    opened: Run
    directory: Path
    data: Prepared
    teaching: Teaching
    materials: Materials

    @property
    def tune(self) -> Tune:
        """What the recipe says of the search."""
        return self.opened.recipe.tune or Tune()

    @property
    def validation(self) -> Examples:
        """The examples that choose."""
        assert self.data.validation is not None, "a search holds some out before it begins"
        return self.data.validation

    @property
    def choosing(self) -> Prepared:
        """The data with the validation set as what is measured."""
        return replace(self.data, measured=self.validation)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the students of every trial: the same, so that settings differ in nothing else, and none of the proof."""
        fresh = set(self.opened.recipe.proof.seeds)
        free = (seed for seed in count(SEARCH_SEEDS * (1 + self.tune.seed)) if seed not in fresh)
        return tuple(islice(free, self.tune.seeds))

    @property
    def steps(self) -> int:
        """Optimizer steps of one student."""
        return self.opened.recipe.fit.steps(len(self.data.train))

    def run(self, name: str, changes: Mapping[str, Any]) -> Run:
        """A run of the recipe with some changes, in a directory of the search."""
        directory = self.directory / name
        recipe = changed(self.opened.recipe, {**changes, "out": str(directory)})
        return replace(self.opened, recipe=recipe, directory=directory)

    def watched_by(self, watch: Watch) -> "Ground":
        """The same, with another watcher of its fits."""
        return replace(self, opened=replace(self.opened, watch=watch))

    def turn(self, name: str) -> AbstractContextManager[None]:
        """The claim of that name, once whoever holds it lets go."""
        return turn(self.directory / name, self.opened.stop)


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with other values at some dotted keys, and without a search."""
    return recipe_from_tree(tree_of(recipe), {"tune": None, **changes}, where="the search")


def begin_run(opened: Run) -> None:
    """Write what a run begins with; what lies there of another recipe goes."""
    path, text = opened.directory / RESOLVED, write_yaml(tree_of(opened.recipe))
    with disk_errors(opened.directory):
        if path.exists() and path.read_text(encoding="utf-8") != text:
            shutil.rmtree(opened.directory)
    if not path.exists():
        make_directory(opened.directory)
        write_json(opened.directory / "environment.json", environment())
        write_text(path, text)
