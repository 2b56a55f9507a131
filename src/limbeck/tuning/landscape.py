"""What a search has found besides its winner: the surface, what is as good, what matters, what accuracy costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from limbeck.files import FORMAT
from limbeck.tuning.plateau import plateau, smallest
from limbeck.tuning.results import TrialResult
from limbeck.tuning.smoothing import AnySetting, Facts, Floats, Smooth, accuracy, is_candidate, smoothed, value_at

Students = Mapping[str, Mapping[str, Any]]

_GRID = 41
_TIE = 1e-5
"""A thousandth of a point: values that differ less are equal, and the earlier trial wins."""
_DRAWS = 256


def landscape(
    results: Sequence[TrialResult],
    space: Facts,
    students: Students,
    *,
    examples: int,
    steps: int,
    own: int | None,
    guess: int | None,
) -> dict[str, Any]:
    """All that a search has found, as landscape.json has it: docs/tuning.md says what each key means.

    Its `best` is the number of the complete trial with the highest smoothed value, None if none is complete; with too
    few complete trials to smooth it is the one with the highest value.

    Args:
        results: in any order.
        space: of each parameter its range {"low", "high", "log"} or its {"choices"}.
        students: of each alternative its parameters and latency_ms, which may be None.
        examples: of the validation set.
        steps: of a whole fit.
        own: the number of the trial of the recipe's own setting.
        guess: that of the first guess.
    """
    results = sorted(results, key=lambda result: result.number)
    smooth = smoothed(results, space)
    levels = _levels(results, smooth)
    best = _best(levels)
    found: dict[str, Any] = {
        "format": FORMAT,
        "metric": "accuracy",
        "examples": examples,
        "steps": steps,
        "space": {name: dict(facts) for name, facts in space.items()},
        "trials": [result.as_dict() | {"smoothed": levels.get(result.number)} for result in results],
        "students": {name: dict(facts) for name, facts in students.items()},
        "best": best,
        "own": own,
        "guess": guess,
        "standard_error": None,
        "surface": {},
        "plateau": {},
        "importances": {},
        "front": [],
    }
    if best is None:
        return found
    winner = next(result for result in results if result.number == best)
    error = _standard_error(winner, levels[best], smooth, examples)
    found["standard_error"] = error
    if smooth is not None:
        found["surface"] = _surface(winner.setting, smooth, space)
        found["plateau"] = plateau(winner.setting, smooth, space, error)
        found["importances"] = _importances(smooth, space)
    if "student" in space:
        found["front"] = _front(results, levels, students)
        seen = [entry["student"] for entry in found["front"]]
        unseen = [name for name in space["student"]["choices"] if name not in seen]
        found["plateau"]["student"] = smallest(found["front"], error, unseen)
    return found


def _levels(results: Sequence[TrialResult], smooth: Smooth | None) -> dict[int, float]:
    """The smoothed value of each complete trial by its number; the plain one where there is none, or below the foot."""
    complete = sorted(filter(is_candidate, results), key=lambda result: result.number)
    if not complete or smooth is None:
        return {result.number: accuracy(result) for result in complete}
    mean_N, _ = smooth.at([result.setting for result in complete])
    return {
        result.number: accuracy(result) if accuracy(result) < smooth.foot else round(float(mean), 6)
        for result, mean in zip(complete, mean_N, strict=True)
    }


def _best(levels: Mapping[int, float]) -> int | None:
    top = max(levels.values(), default=0.0)
    return next((number for number, level in levels.items() if level >= top - _TIE), None)


def _standard_error(winner: TrialResult, level: float, smooth: Smooth | None, examples: int) -> float:
    """Of the best's accuracy: what the search does not know of it, and the luck of the validation examples.

    All trials were measured on the same examples, so what these favour looks like merit to the surface. The binomial
    p(1-p)/n is the variance of a difference of two students whose errors correlate by one half.
    """
    share = min(max(level, 0.0), 1.0)
    unknown = float(smooth.at([winner.setting])[1][0]) if smooth is not None else 0.0
    return float(np.hypot(unknown, np.sqrt(share * (1 - share) / max(examples, 1))))


def _surface(setting: AnySetting, smooth: Smooth, space: Facts) -> dict[str, Any]:
    """Mean and deviation over temperature and alpha, or the one that is searched, at the best trial's other choices."""
    temperature = next((name for name in space if name.split(".")[-1] == "temperature" and name in setting), None)
    names = [name for name in (temperature, "alpha") if name is not None and name in setting]
    if not names:
        return {}
    axes = [[value_at(share, space[name]) for share in np.linspace(0, 1, _GRID)] for name in names]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(names))
    mean_N, sd_N = smooth.at([{**setting, **dict(zip(names, point, strict=True))} for point in points.tolist()])
    shape = tuple(len(axis) for axis in axes)
    return {
        "axes": [{"name": name, "values": axis} for name, axis in zip(names, axes, strict=True)],
        "mean": mean_N.round(6).reshape(shape).tolist(),
        "sd": sd_N.round(6).reshape(shape).tolist(),
        "foot": round(smooth.foot, 6),
    }


def _importances(smooth: Smooth, space: Facts) -> dict[str, float]:
    """Each parameter's share in how far the surface varies over the space: Sobol's total indices, made to sum to 1.

    {} where it varies less than it is uncertain.
    """

    def mean(draws: Floats) -> Floats:
        return smooth.at([_drawn(draw, space) for draw in draws.T.tolist()])[0]

    drawn = np.random.default_rng(0).random((_DRAWS, len(space)))
    mean_N, sd_N = smooth.at([_drawn(draw, space) for draw in drawn.tolist()])
    if np.var(mean_N) <= np.mean(sd_N**2):
        return {}
    if len(space) == 1:
        return dict.fromkeys(space, 1.0)
    found = stats.sobol_indices(func=mean, n=_DRAWS, dists=[stats.uniform()] * len(space), rng=0)
    total = np.maximum(found.total_order, 0)
    shares = dict(zip(space, (total / total.sum()).tolist(), strict=True))
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _drawn(draw: Sequence[float], space: Facts) -> AnySetting:
    """A setting from uniform numbers; what belongs to another objective than the one drawn is absent."""
    setting: dict[str, Any] = {}
    for (name, facts), share in zip(space.items(), draw, strict=True):
        choices = facts.get("choices")
        setting[name] = choices[int(share * len(choices))] if choices else value_at(share, facts)
    own = setting.get("objective")
    return {name: value for name, value in setting.items() if "." not in name or name.split(".")[0] == own}


def _front(results: Sequence[TrialResult], levels: Mapping[int, float], students: Students) -> list[dict[str, Any]]:
    """The best trial of each student, the smallest first, and by which cost no other student has more for less."""
    entries = []
    for name, facts in students.items():
        own = {r.number: levels[r.number] for r in results if r.student == name and r.number in levels}
        if (number := _best(own)) is not None:
            cost = {"parameters": facts["parameters"], "latency_ms": facts["latency_ms"]}
            entries.append({"student": name, **cost, "trial": number, "smoothed": own[number]})
    for key in ("parameters", "latency_ms"):
        known = [entry for entry in entries if entry[key] is not None]
        for entry in entries:
            entry[f"front_by_{key}"] = entry in known and not any(_dominates(other, entry, key) for other in known)
    return sorted(entries, key=lambda entry: (entry["parameters"], entry["student"]))


def _dominates(other: Mapping[str, Any], entry: Mapping[str, Any], cost: str) -> bool:
    cheaper, better = entry[cost] - other[cost], other["smoothed"] - entry["smoothed"]
    return bool(min(cheaper, better) >= 0 and max(cheaper, better) > 0)
