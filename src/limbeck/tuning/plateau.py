"""Which settings are as good as the best: within one standard error of it.

The one-standard-error rule of Breiman et al. 1984, section 3.4.3 (ESL, section 7.10) takes the simplest model within
one standard error of the best. Here it says how far the choice may be off before it costs more than the search can
tell.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from limbeck.tuning.smoothing import AnySetting, Facts, Smooth, place, value_at

_GRID = 201
_NARROW = 0.1
"""The share of a searched range below which an interval is one value."""


def plateau(setting: AnySetting, smooth: Smooth, space: Facts, error: float) -> dict[str, Any]:
    """Along each parameter of the best setting, the others as they are, what is as good as it.

    Args:
        setting: the best.
        smooth: the surface.
        space: what was searched.
        error: one standard error.

    Returns:
        by parameter {"low", "high", "sentence"} of a range, {"choices", "sentence"} of alternatives; the student's
        is another question, see `smallest`.
    """
    found: dict[str, Any] = {}
    level = float(smooth.at([setting])[0][0])
    for name in (name for name in space if name in setting and name != "student"):
        facts = space[name]
        value: Any = setting[name]
        if "choices" in facts:
            mean_N, _ = smooth.at([{**setting, name: choice} for choice in facts["choices"]])
            good = [c for c, mean in zip(facts["choices"], mean_N, strict=True) if c == value or mean >= level - error]
            found[name] = {"choices": good, "sentence": _of_choices(name, value, good, len(facts["choices"]), error)}
        else:
            shares = np.linspace(0, 1, _GRID)
            mean_N, _ = smooth.at([{**setting, name: value_at(share, facts)} for share in shares.tolist()])
            low, high = _around(place(value, facts), shares.tolist(), (mean_N >= level - error).tolist())
            ends = value_at(low, facts), value_at(high, facts)
            found[name] = {"low": ends[0], "high": ends[1], "sentence": _of_range(name, value, low, high, ends, error)}
    return found


def smallest(front: Sequence[Mapping[str, Any]], error: float, unseen: Sequence[str]) -> dict[str, Any]:
    """The smallest student within one standard error of the best.

    Args:
        front: students with `parameters` and `smoothed`, the smallest first; not empty.
        error: one standard error.
        unseen: students without a complete trial, of which nothing can be said but that.
    """
    best = max(front, key=lambda entry: entry["smoothed"])
    good = [entry for entry in front if entry["smoothed"] >= best["smoothed"] - error]
    first = good[0]
    below = 100 * (best["smoothed"] - first["smoothed"])
    if len(front) == 1:
        sentence = f"{_sized(first)} is the only student with a complete trial"
    elif first is not best:
        sentence = f"{_sized(first)} is as good here as {_sized(best)}: {below:.1f} points below it, {_within(error)}"
    else:
        which = "no student smaller than" if not unseen else "of those with a complete trial no student smaller than"
        sentence = f"{which} {_sized(best)} is as good here ({_within(error)})"
    left_out = f"; no trial of {' or '.join(f'`{name}`' for name in unseen)} ran to its end" * bool(unseen)
    return {"choices": [entry["student"] for entry in good], "sentence": sentence + left_out}


def _around(share: float, shares: Sequence[float], good: Sequence[bool]) -> tuple[float, float]:
    """The ends of the run of good places around the best one, which is good by itself."""
    low = high = min(max(share, 0.0), 1.0)
    for other, fine in zip(shares, good, strict=True):
        if other > high:
            if not fine:
                break
            high = other
    for other, fine in zip(reversed(shares), reversed(good), strict=True):
        if other < low:
            if not fine:
                break
            low = other
    return low, high


def _of_range(name: str, value: Any, low: float, high: float, ends: tuple[float, float], error: float) -> str:
    span = f"{ends[0]:.2g} to {ends[1]:.2g}"
    if low == 0 and high == 1:
        return f"{name} makes no difference here that this search could show: {span} is all {_within(error)}"
    edge = f"; {ends[high == 1]:.2g} is an end of what was searched" * (low == 0 or high == 1)
    if high - low < _NARROW:
        beyond = f"outside {span} it costs more than {_size(error)}, one standard error"
        return f"{name} {value:.2g} is a clear best: {beyond}{edge}"
    return f"any {name} from {span} is as good here ({_within(error)}){edge}"


def _of_choices(name: str, value: Any, good: Sequence[Any], tried: int, error: float) -> str:
    if len(good) == 1:
        return f"{name} {value} is a clear best: each other costs more than {_size(error)}, one standard error"
    if len(good) == tried:
        return f"{name} makes no difference here that this search could show: all are {_within(error)}"
    return f"{name} may be any of {', '.join(map(str, good))}: they are as good here ({_within(error)})"


def _sized(entry: Mapping[str, Any]) -> str:
    return f"`{entry['student']}` ({entry['parameters']:,} parameters)"


def _within(error: float) -> str:
    return f"within {_size(error)}, one standard error"


def _size(error: float) -> str:
    points = 100 * error
    return f"{points:.1f} points" if points >= 0.095 else f"{points:.1g} points"
