"""A search that never was: its landscape and its record."""

import json
from dataclasses import replace

from limbeck.measurement import Verdict
from limbeck.tuning.landscape import landscape
from made_trials import SPACE, cut, drawn, trial

SIZES = {
    "mlp(hidden 16)": {"parameters": 12_730, "latency_ms": 0.018},
    "mlp(hidden 32)": {"parameters": 25_450, "latency_ms": 0.021},
    "<b>$x^2$_|学生": {"parameters": 9098, "latency_ms": None},
}
"""Names as hostile as a user can make them."""


def trials(*, students=("mlp(hidden 32)",)):
    """A trial without a teacher and 30 more, of which every other was pruned at its second rung."""
    results = [trial(0, {}, 0.938, origin="no teacher")]
    for made in drawn(1, trials=30, noise=0.001):
        name = students[made.number % len(students)]
        setting = made.setting | ({"student": name} if len(students) > 1 else {})
        origin = {1: "own", 2: "first guess"}.get(made.number, "searched")
        whole = replace(made, setting=setting, student=name, origin=origin)
        pruned = made.number > 2 and made.number % 2
        results.append(replace(cut(whole, 1), origin=origin, student=name) if pruned else whole)
    return results


def landscape_of(results, space=SPACE, students=SIZES, **named):
    made = landscape(results, space, students, **{"examples": 10_000, "steps": 450, "own": 1, "guess": 2, **named})
    return json.loads(json.dumps(made))


def plain():
    return landscape_of(trials())


def with_students():
    return landscape_of(trials(students=tuple(SIZES)), {**SPACE, "student": {"choices": list(SIZES)}})


def verdict(word, difference, arm="tuned", against="own"):
    interval = (difference - 0.002, difference + 0.002)
    made = Verdict(
        word=word, arm=arm, against=against, difference=difference, interval=interval, seeds=(5, 6), examples=10_000
    )
    return made.as_dict() | {"sentence": str(made)}


def recorded(made):
    """The record of a search, from that of a run: same data, same environment."""
    fits = made["arms"]["distilled"]
    verdicts = [verdict("BEATS", 0.004), verdict("BEATS", 0.014, against="scratch")]
    return {
        **{key: made[key] for key in ("format", "recipe", "environment", "data", "teacher", "labels")},
        "kind": "search",
        "verdict": verdicts[0],
        "verdicts": verdicts,
        "best": {"number": 4, "setting": {"temperature": 3.0}},
        "arms": {"tuned": fits, "own": fits, "scratch": made["arms"]["scratch"]},
        "search": {
            "trials": 31,
            "complete": 17,
            "pruned": 14,
            "failed": 0,
            "seconds": 81.2,
            "student_epochs": 512.0,
            "grid_epochs": 3840.0,
            "jobs": 2,
            "labels_held_out": 10_000,
        },
        "files": {},
    }
