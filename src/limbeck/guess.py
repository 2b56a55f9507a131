"""A first guess at temperature and alpha, without search: from the teacher's logits and the labels that students see.

Dimension key: N examples, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.preparation import Prepared
from limbeck.teachers import BATCH_SIZE, Signals, doubts, evenly, spread, where_doubts_reach

HALF = 0.5
"""The doubts at which a student listens: as a share of those of a teacher that knows nothing."""
USUAL_TEMPERATURE, USUAL_ALPHA = 4.0, 0.1
"""Where nothing can be told from the logits: the defaults of a recipe."""
MOST = 4096
"""Examples that are looked at, evenly over the training set."""
MOST_LOGITS = 2**23
"""Logits that are looked at: of very many classes, fewer examples."""


@dataclass(frozen=True, kw_only=True)
class Guess:
    """Temperature and alpha as they are guessed, and from what.

    Args:
        temperature: at which the doubts take half of what one who knows nothing gives them.
        alpha: the share of the student's own labels.
        doubts: at temperature 1.
        examples: that were looked at.
    """

    temperature: float
    alpha: float
    doubts: float
    examples: int


def guess(logits_NC: Tensor) -> Guess:
    """The first guess from a teacher's logits."""
    temperature = where_doubts_reach(logits_NC, HALF)
    return Guess(
        temperature=_rounded(USUAL_TEMPERATURE if temperature is None else temperature),
        alpha=USUAL_ALPHA,
        doubts=doubts(logits_NC, 1.0),
        examples=len(logits_NC),
    )


def guess_of(signals: Signals, data: Prepared) -> Guess:
    """The first guess of a run, from what its teacher said of training examples: the plain ones, or the first view."""
    train = data.train
    rows = evenly(len(train), max(1, min(MOST, MOST_LOGITS // len(train.classes))))
    parts = [spread(signals.fetch(some, train.inputs[some], torch.zeros_like(some))) for some in rows.split(BATCH_SIZE)]
    return guess(torch.cat(parts))


def _rounded(value: float) -> float:
    """To three significant digits."""
    return float(f"{value:.3g}")
