"""Made-up trials for the tests of choice and landscape."""

from math import log2

import numpy as np

from limbeck.tuning.landscape import landscape
from limbeck.tuning.results import TrialResult

SPACE = {
    "temperature": {"low": 1, "high": 20, "log": True},
    "alpha": {"low": 0, "high": 1, "log": False},
}


def truth(setting):
    """Level from temperature 2 to 8 to within a tenth of a point, and best at alpha 0.3."""
    away = max(0.0, abs(log2(setting["temperature"] / 4)) - 1)
    return 0.95 - 0.01 * away**2 - 0.05 * (setting["alpha"] - 0.3) ** 2


def trial(number, setting, value, **changes):
    given = {
        "number": number,
        "state": "complete",
        "origin": "searched",
        "setting": setting,
        "value": value,
        "curve": ((50, value - 0.2), (150, value - 0.1), (450, value)) if value is not None else (),
        "steps": 450,
        "seconds": 2.0,
        "student": "mlp(hidden 32)",
    }
    return TrialResult(**{**given, **changes})


def cut(result, rung):
    """The trial as it would have been, had it been pruned at a rung of its curve."""
    curve = result.curve[: rung + 1]
    return trial(result.number, result.setting, curve[-1][1], state="pruned", curve=curve, steps=curve[-1][0])


def drawn(seed, trials=40, noise=0.003, of=truth):
    """Trials at random settings, with the luck of their trainings."""
    rng = np.random.default_rng(seed)
    settings = [{"temperature": float(20 ** rng.random()), "alpha": float(rng.random())} for _ in range(trials)]
    return [trial(n, s, of(s) + noise * float(rng.normal())) for n, s in enumerate(settings, start=1)]


def choose(results, space):
    """The number of the best trial."""
    return landscape(results, space, {}, examples=1000, steps=450, own=None, guess=None)["best"]
