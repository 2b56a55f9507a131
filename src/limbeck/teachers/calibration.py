"""How sure a teacher is, how sure it may be, and at which temperatures its doubts are heard.

Dimension key: N examples, C classes.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from limbeck.data import derive_seed

EXTREMES = (1 / 20, 20.0)
"""Between these a calibrating temperature is looked for; one at an end is none."""
FAINT, LOUD = 0.1, 0.75
"""Doubts, as shares of those of a teacher that knows nothing, between which a temperature is suggested."""
FEWEST = 20
"""Labelled examples without which nothing is said about calibration."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How well a teacher's probabilities fit the labels, over one half of some examples.

    Args:
        temperature: at which they fit best, found on the other half (Guo 2017, arXiv 1706.04599, section 4.2); above 1
            the teacher is too sure, below 1 too modest. None where none is best: it is right on the whole half, or
            knows nothing.
        nll: at temperature 1, the mean in nats.
        nll_at_temperature: likewise, at that temperature.
        examples: of the half that was measured.
    """

    temperature: float | None
    nll: float
    nll_at_temperature: float | None
    examples: int


def calibrate(logits_NC: Tensor, labels_N: Tensor) -> Calibration | None:
    """Find the temperature of a teacher's logits that fits the labels best; None with fewer labels than `FEWEST`."""
    if len(labels_N) < FEWEST:
        return None
    fitted, measured = halves(len(labels_N))
    logits_NC = logits_NC.double()
    temperature = _fitting(logits_NC[fitted], labels_N[fitted])
    held_NC, held_N = logits_NC[measured], labels_N[measured]
    return Calibration(
        temperature=temperature,
        nll=_nll(held_NC, held_N, 1.0),
        nll_at_temperature=None if temperature is None else _nll(held_NC, held_N, temperature),
        examples=len(measured),
    )


def halves(count: int) -> tuple[Tensor, Tensor]:
    """The rows that a temperature is fitted on, and those that it is measured on, drawn whatever their order is."""
    generator = torch.Generator().manual_seed(derive_seed("calibration"))
    order = torch.randperm(count, generator=generator)
    return order[: count // 2], order[count // 2 :]


def suggested_temperatures(logits_NC: Tensor) -> tuple[float, float] | None:
    """Between which temperatures these logits whisper: neither silent nor all noise; None where no temperature does.

    A heuristic, and of the logits alone. The doubts at T are the mean of 1 - max_c softmax(z / T)_c as a share of
    1 - 1/C, what one who knows nothing says; they grow with T from 0 to 1. Below `FAINT` the soft label is hardly
    more than the teacher's first choice. Above `LOUD` the soft labels of all examples come to resemble each other, and
    what sets them apart is more and more the order of classes that the teacher rules out, which it was hardly trained
    to rank (Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2.1).
    """
    low, high = (where_doubts_reach(logits_NC, share) for share in (FAINT, LOUD))
    return None if low is None or high is None else (low, high)


def doubts(logits_NC: Tensor, temperature: float) -> float:
    """How much of the probability is off the first choice at a temperature, as a share of the most it can be."""
    p_NC = (logits_NC.double() / temperature).softmax(dim=1)
    most_N = 1 - 1 / logits_NC.isfinite().sum(dim=1).clamp_min(2)
    return float(((1 - p_NC.amax(dim=1)) / most_N).mean())


def where_doubts_reach(logits_NC: Tensor, share: float) -> float | None:
    """The temperature at which the doubts are this share; None where none is."""
    low, high = math.log(1e-3), math.log(1e6)
    if not doubts(logits_NC, math.exp(low)) < share < doubts(logits_NC, math.exp(high)):
        return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if doubts(logits_NC, math.exp(middle)) < share else (low, middle)
    return math.exp(high)


def _fitting(logits_NC: Tensor, labels_N: Tensor) -> float | None:
    low, high = (math.log(end) for end in EXTREMES)
    # Convex in 1/T, so with one minimum in log T too.
    found = minimize_scalar(lambda x: _nll(logits_NC, labels_N, math.exp(x)), bounds=(low, high), method="bounded")
    least_at_ends = min(_nll(logits_NC, labels_N, end) for end in EXTREMES)
    return math.exp(found.x) if found.fun < least_at_ends - 1e-6 else None


def _nll(logits_NC: Tensor, labels_N: Tensor, temperature: float) -> float:
    return float(F.cross_entropy(logits_NC / temperature, labels_N))
