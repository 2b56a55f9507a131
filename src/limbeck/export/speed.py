"""Whether int8 answers sooner than float32 here: measured side by side, told either way."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.measurement import ratio, timed, unsteady
from limbeck.runtime.runner import Runner

TURNS, LEAST, MOST = 7, 50, 500
"""Turns that each file has, and the answers of a turn."""
SECONDS, LIMIT = 0.1, 1.0
"""Of a turn: what it lasts where answers are quick, and where they are slow."""


def beside_float32(int8: Runner, float32: Runner, examples: NDArray[np.float32]) -> dict[str, Any]:
    """How long each takes for one example on one thread, turn about.

    Args:
        int8: the quantised file, opened with one thread.
        float32: the same network's file in float32, likewise.
        examples: [N, ...] as the network takes them.

    Returns:
        Medians in seconds, how many times as long float32 takes, and what that means, in a sentence.
    """
    ones = [examples[[row]] for row in range(len(examples))]
    medians: dict[str, list[float]] = {"int8": [], "float32": []}
    for turn in range(TURNS + 1):
        for name, run in (("int8", int8), ("float32", float32)):
            took = timed(run, ones, least=LEAST, most=MOST, seconds=SECONDS, limit=LIMIT)
            if turn:  # the first turn warms
                medians[name].append(float(np.median(took)))
    gain = ratio(medians["float32"], medians["int8"])
    facts = {f"{name}_seconds": float(np.median(each)) for name, each in medians.items()}
    return {**facts, **gain, "sentence": _sentence(facts, gain)}


def _sentence(facts: dict[str, float], gain: dict[str, float]) -> str:
    int8, float32 = (1e6 * facts[f"{name}_seconds"] for name in ("int8", "float32"))
    basis = f"{int8:,.0f} us for one example on one thread, float32 {float32:,.0f} us"
    turns = f"in turns {gain['low']:.2f} to {gain['high']:.2f} times as fast"
    if unsteady(gain):
        return f"whether int8 is faster here was too unsteady to tell: {basis} ({turns})"
    if gain["low"] > 1:
        return f"int8 is {gain['ratio']:.2f} times as fast as float32 here: {basis} ({turns})"
    if gain["high"] < 1:
        return f"int8 is not faster here, but takes {1 / gain['ratio']:.2f} times as long: {basis} ({turns})"
    return f"int8 is not faster here: no difference from float32, {basis} ({turns})"
