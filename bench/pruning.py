"""How soon does a validation curve tell which temperature and alpha teach best, and would shorter fits tell it?

    python bench/pruning.py DIR OUT

MNIST (DIR has its four IDX files), 1,000 labelled images and no others for a student of 25,450 parameters, 10,000 held
out. 20 settings, each trained from two seeds; Spearman's rank correlation of their order with that at the end:
after so many ninths of the steps, and of fits that are shorter as a whole, learning rate and all.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from few_labels import recipe_tree
from scipy.stats import spearmanr

from limbeck.preparation import Materials, Prepared, prepare, student_preprocess
from limbeck.progress import unwatched
from limbeck.recipe import recipe_from_tree, tree_of
from limbeck.rundir import Run, open_run
from limbeck.students import new_student
from limbeck.teachers import ModuleTeacher, Signals, ask_all
from limbeck.teaching import teach
from limbeck.training import Rungs, configured, fit, join_world, lesson_of
from limbeck.tuning.trial import accuracy

SETTINGS = [(t, a) for a in (0.01, 0.1, 0.5) for t in (1.0, 2.0, 4.0, 8.0, 16.0)]
SETTINGS += [(2.0, 0.8), (4.0, 0.8), (8.0, 0.8), (16.0, 0.8), (4.0, 0.95)]
NINTHS = range(1, 10)
SHORTER = (1 / 9, 1 / 6, 1 / 4, 1 / 3, 1 / 2)


class Fits:
    """Students of one run, trained with any setting for any share of its steps."""

    def __init__(self, opened: Run, data: Prepared, signals: Signals) -> None:
        self.opened, self.data, self.signals = opened, data, signals

    def curve(self, temperature: float, alpha: float, seed: int, share: float = 1.0) -> list[float]:
        """Accuracy on validation after each ninth of the steps."""
        changes = {"distill.objective.temperature": temperature, "distill.alpha": alpha}
        recipe = recipe_from_tree(tree_of(self.opened.recipe), changes, where="the bench")
        preprocess, validation = student_preprocess(recipe, self.data), self.data.validation
        assert validation is not None
        student = new_student(recipe, self.data, Materials(), seed)
        lesson = lesson_of("distilled", recipe.distill, self.data.train, self.signals, preprocess, seed=seed)
        steps = round(share * recipe.fit.steps(len(self.data.train)))
        values: list[float] = []

        def look(step: int, student: Any) -> None:
            values.append(
                accuracy(ask_all(ModuleTeacher(student, preprocess, self.opened.device), validation), validation)
            )

        place = self.opened.place(
            self.opened.directory / "fits" / f"{temperature}-{alpha}-{seed}-{share:.3f}", arm="bench"
        )
        rungs = Rungs(frozenset(round(steps * ninth / 9) for ninth in NINTHS), look)
        fit(
            student,
            lesson,
            replace(recipe.fit, checkpoint_seconds=3600.0),
            steps=steps,
            seed=seed,
            place=place,
            rungs=rungs,
        )
        return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    recipe = recipe_from_tree(recipe_tree(options.data, options.out), {}, where="the bench")
    data = prepare(recipe, Materials())
    opening = open_run(recipe, world=join_world(), resume=False, overwrite=True, watch=unwatched)
    with opening as opened, configured(opened.recipe.fit):
        fits = Fits(opened, data, teach(opened, data, Materials(), allow_weak=False).signals)
        finals = {}
        for seed in (0, 1):
            curves = [fits.curve(*setting, seed) for setting in SETTINGS]
            finals[seed] = [curve[-1] for curve in curves]
            on_the_way = [spearmanr(values, finals[seed]).statistic for values in zip(*curves, strict=True)]
            print(f"seed {seed}, after 1/9 ... 8/9: " + " ".join(f"{rank:.2f}" for rank in on_the_way[:-1]))
            shorter = [[fits.curve(*setting, seed, share)[-1] for setting in SETTINGS] for share in SHORTER]
            ranks = [spearmanr(values, finals[seed]).statistic for values in shorter]
            print(f"seed {seed}, fits of 1/9 1/6 1/4 1/3 1/2: " + " ".join(f"{rank:.2f}" for rank in ranks), flush=True)
        print(f"one seed beside the other at the end: {spearmanr(*finals.values()).statistic:.2f}")


if __name__ == "__main__":
    main()
