"""A first guess at temperature and alpha, without search: what `auto` stands for in a recipe.

The temperature is that at which the teacher's doubts are a third of those of one who knows nothing: a soft label still
names its first choice, and says something of the others. It is no lower than the temperature at which the teacher's
probabilities fit the labels best (Guo 2017, arXiv 1706.04599): a teacher that is wrong more often than right is
softened until it admits that. alpha is the share of all examples whose label the teacher contradicts, but at most the
usual 0.1: the labels have little to add where it agrees with them, and nothing where there are none. Even doubtful
probabilities teach with less variance than labels do (Menon 2021, arXiv 2005.10419), and a small weight of the labels
is what worked best from the beginning (Hinton 2015, arXiv 1503.02531, section 2).

Dimension key: N examples, C classes.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from limbeck.preparation import Prepared
from limbeck.recipe import Recipe
from limbeck.rundir import Run, check_origin
from limbeck.signal import UNLABELLED
from limbeck.teachers import BATCH_SIZE, Signals, calibrate, doubts, evenly, spread, where_doubts_reach
from limbeck.training import USUAL_ALPHA

THIRD = 1 / 3
"""The doubts of the guess, as a share of those of one who knows nothing; docs/log.md has how this was found."""
USUAL_TEMPERATURE = 4.0
"""Where no temperature makes the doubts a third: answers are even then, and no temperature is better than another."""
MOST, MOST_LOGITS = 4096, 2**23
"""Examples that are looked at, evenly over the training set; fewer where each has very many logits."""


Rule = Literal["doubts", "calibration", "usual"]


@dataclass(frozen=True, kw_only=True)
class Guess:
    """Temperature and alpha to three significant digits, and what they were guessed from.

    Args:
        temperature: for an objective that divides the logits as they are.
        rule: which temperature it is: at which the `doubts` are a third, at which the probabilities fit the labels best
            (`calibration`), or the `usual` one.
        alpha: the share of `student_loss`, 0.1 at most.
        doubts: at temperature 1, as a share of those of one who knows nothing.
        calibration: the temperature at which the probabilities fit the labels best; None where none does.
        labelled: the share of the examples that have a label.
        contradicted: the share of these labels that are not the teacher's first choice; None without labels.
        examples: that were looked at.
    """

    temperature: float
    rule: Rule
    alpha: float
    doubts: float
    calibration: float | None
    labelled: float
    contradicted: float | None
    examples: int


def guess(logits_NC: Tensor, labels_N: Tensor) -> Guess:
    """The first guess, from what a teacher said of some examples and the labels that students see of them."""
    known = labels_N != UNLABELLED
    found = calibrate(logits_NC[known], labels_N[known])
    calibration = None if found is None else found.temperature
    temperature, rule = _temperature(where_doubts_reach(logits_NC, THIRD), calibration)
    contradicted_N = logits_NC.argmax(dim=1) != labels_N
    return Guess(
        temperature=_rounded(temperature),
        rule=rule,
        alpha=_rounded(min(_share(contradicted_N & known), USUAL_ALPHA)),
        doubts=doubts(logits_NC, 1.0),
        calibration=calibration,
        labelled=_share(known),
        contradicted=_share(contradicted_N[known]) if known.any() else None,
        examples=len(logits_NC),
    )


def _temperature(heard: float | None, calibration: float | None) -> tuple[float, Rule]:
    if heard is None:
        return USUAL_TEMPERATURE, "usual"
    if calibration is not None and calibration > heard:
        return calibration, "calibration"
    return heard, "doubts"


def guess_of(signals: Signals, data: Prepared) -> Guess:
    """The first guess of a run, from what its teacher said of training examples: the plain ones, or the first views."""
    train = data.train
    rows = evenly(len(train), max(1, min(MOST, MOST_LOGITS // len(train.classes))))
    parts = (signals.fetch(some, train.inputs[some], torch.zeros_like(some)) for some in rows.split(BATCH_SIZE))
    return guess(torch.cat([spread(part) for part in parts]), train.labels[rows])


def settled(recipe: Recipe, guess: Guess) -> Recipe:
    """The recipe with the guess in the place of auto; a number or a schedule stays."""
    distill = recipe.distill.settled(alpha=guess.alpha, temperature=guess.temperature)
    return replace(recipe, distill=distill)


def without_auto(opened: Run, signals: Signals, data: Prepared) -> tuple[Run, dict[str, Any]]:
    """The run with numbers in the place of auto, and the guess for its record; nothing where nothing is auto.

    Raises:
        DataError: the run was begun with another guess.
    """
    if not opened.recipe.distill.unsettled:
        return opened, {}
    found = guess_of(signals, data)
    settles = [name for name in ("temperature", "alpha") if getattr(opened.recipe.distill, name) == "auto"]
    check_origin(opened, {"guess": ", ".join(f"{name} {getattr(found, name):g}" for name in settles)})
    return replace(opened, recipe=settled(opened.recipe, found)), {"guess": {"settles": settles, **asdict(found)}}


def _share(those: Tensor) -> float:
    return float(those.double().mean())


def _rounded(value: float) -> float:
    """To three significant digits."""
    return float(f"{value:.3g}")
