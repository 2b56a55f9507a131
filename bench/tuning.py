"""Does a search find what an exhaustive grid finds, at an eighth of its cost, and what does it cost beside training?

    python bench/tuning.py DIR OUT [--repeats 3] [--trials 11]
    python bench/tuning.py DIR OUT --overhead

MNIST (DIR has its four IDX files), 1,000 labelled images and no others for a student of 25,450 parameters, 10,000 held
out to choose on. Each repeat has a search and a grid of 8 temperatures by 8 alphas, both with students of one seed,
another for each repeat; validation chooses. Both winners are trained from five fresh seeds and compared on the test
set, which nothing was chosen on. `--overhead` searches with trials of about two seconds, one after the other, and takes
the time of all fits off that of the whole call.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from few_labels import recipe_tree
from torch import Tensor

from limbeck import pipeline, tuning
from limbeck.files import read_tensors
from limbeck.measurement import compare, correct
from limbeck.pipeline import Options, train_arm
from limbeck.preparation import Materials, Prepared, prepare
from limbeck.progress import unwatched
from limbeck.proof import predictions
from limbeck.recipe import Recipe, recipe_from_tree, tree_of
from limbeck.rundir import Run, open_run
from limbeck.teaching import Teaching, teach
from limbeck.training import configured, join_world
from limbeck.tuning import trial

SIDE = 8
TEMPERATURES = np.geomspace(1, 20, SIDE).round(3).tolist()
ALPHAS = np.linspace(0, 1, SIDE).round(3).tolist()


def recipe_of(options: argparse.Namespace, repeat: int, **changes: Any) -> Recipe:
    tree = recipe_tree(options.data, options.out / f"repeat-{repeat}")
    tree["tune"] = {"trials": options.trials, "seed": repeat, "jobs": 1}
    return recipe_from_tree(tree, changes, where="the bench")


class Grid:
    """An exhaustive search in the directory of a run that is asked already."""

    def __init__(self, recipe: Recipe, seed: int, opened: Run, data: Prepared, teaching: Teaching) -> None:
        self.seed, self.opened, self.data, self.teaching = seed, opened, data, teaching
        self.recipe = recipe

    def right(self, temperature: float, alpha: float, seed: int, *, on: str) -> Tensor:
        """[N] whether a student is right about each example of validation or test."""
        directory = self.opened.directory / "grid" / f"{temperature}-{alpha}-{on}"
        changes = {
            "distill.objective.temperature": temperature,
            "distill.alpha": alpha,
            "out": str(directory),
            "tune": None,
        }
        recipe = recipe_from_tree(tree_of(self.recipe), changes, where="the bench")
        opened = replace(self.opened, recipe=recipe, directory=directory)
        assert self.data.validation is not None
        data = replace(self.data, measured=self.data.validation) if on == "validation" else self.data
        train_arm(opened, "distilled", seed, data, self.teaching.signals, Materials())
        return correct(predictions(opened, "distilled", seed), data.measured.labels)

    def best(self) -> tuple[float, float]:
        values = {
            (t, a): self.right(t, a, self.seed, on="validation").double().mean().item()
            for t in TEMPERATURES
            for a in ALPHAS
        }
        return max(values, key=lambda setting: values[setting])


def compared(options: argparse.Namespace, repeat: int) -> None:
    recipe = recipe_of(options, repeat)
    record = tuning.tune(recipe, Materials(), Options(resume=True))
    data = prepare(recipe, Materials())
    world = join_world()
    with (
        open_run(recipe, world=world, resume=True, overwrite=False, watch=unwatched) as opened,
        configured(opened.recipe.fit),
    ):
        grid = Grid(
            opened.recipe, 1000 * (1 + repeat), opened, data, teach(opened, data, Materials(), allow_weak=False)
        )
        temperature, alpha = grid.best()
        seeds = recipe.proof.seeds
        of_grid = torch.stack([grid.right(temperature, alpha, seed, on="test") for seed in seeds])
        proof = Path(recipe.out) / "tune" / "proof" / f"{record['best']['number']:04d}" / "arms" / "distilled"
        logits = [read_tensors(proof / f"seed-{seed}" / "predictions.safetensors")["logits"] for seed in seeds]
        of_search = torch.stack([correct(each, data.measured.labels) for each in logits])
    cost = record["search"]["student_epochs"] / record["search"]["grid_epochs"]
    verdict = compare(of_search, of_grid, arm="search", against="grid", seeds=seeds)
    print(
        f"repeat {repeat} | search {record['best']['setting']} {100 * of_search.double().mean():.2f} % | grid T "
        f"{temperature} alpha {alpha} {100 * of_grid.double().mean():.2f} % | {verdict} | cost 1/{1 / cost:.1f}",
        flush=True,
    )


@contextmanager
def timed(module: Any, name: str, account: list[float]) -> Iterator[None]:
    """Add up the seconds of every call of a function."""
    function: Callable[..., Any] = getattr(module, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            account.append(time.perf_counter() - began)

    setattr(module, name, call)
    try:
        yield
    finally:
        setattr(module, name, function)


def overhead(options: argparse.Namespace) -> None:
    changes = {"fit.epochs": 150, "tune.prune": False, "tune.trials": 30, "out": str(options.out / "overhead")}
    recipe = recipe_of(options, 0, **changes)
    pipeline.ask_teacher(recipe, Materials(), Options())
    fits: list[float] = []
    looks: list[float] = []
    trials: list[float] = []
    with (
        timed(pipeline, "fit", fits),
        timed(trial._Curve, "_look", looks),
        timed(sys.modules["limbeck.tuning.tune"], "work", trials),
    ):
        began = time.perf_counter()
        tuning.tune(recipe, Materials(), Options(overwrite=True))
        whole = time.perf_counter() - began
    of_trials = sum(fits[: len(fits) - 2 * 5 - 5]) - sum(looks)
    training = sum(fits) - sum(looks)
    print(f"{len(fits)} fits of {training / len(fits):.2f} s")
    print(f"trials: {trials[0]:.1f} s, {1 - of_trials / trials[0]:.1%} not training")
    print(f"whole call, labels there: {whole:.1f} s, {1 - training / whole:.1%} not training")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=11)
    parser.add_argument("--overhead", action="store_true")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.overhead:
        overhead(options)
        return
    for repeat in range(options.repeats):
        compared(options, repeat)


if __name__ == "__main__":
    main()
