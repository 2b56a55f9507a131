import json
import math
import time
from dataclasses import replace
from statistics import mean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.tuning.landscape import landscape
from made_trials import SPACE, choose, cut, drawn, trial, truth

STUDENT = {"mlp(hidden 32)": {"parameters": 1000, "latency_ms": None}}


def found(results, space=SPACE, students=STUDENT, *, examples=10_000, **changes):
    made = landscape(
        results, space, students, **{"examples": examples, "steps": 450, "own": None, "guess": None, **changes}
    )
    return json.loads(json.dumps(made, allow_nan=False))


# ------------------------------------------------------------------------------------------------ the choice


def test_the_choice_is_nearer_to_the_truth_than_the_luckiest_trial():
    plain, chosen = [], []
    for seed in range(20):
        results = drawn(seed)
        by_number = {result.number: result for result in results}
        plain.append(truth(max(results, key=lambda result: result.value).setting))
        chosen.append(truth(by_number[choose(results, SPACE)].setting))
    assert 0.95 - mean(chosen) < 0.75 * (0.95 - mean(plain))


def test_what_a_pruned_trial_would_have_come_to_informs_the_choice():
    """A lucky trial among neighbours that were poor when they were stopped is not the best."""
    good = [trial(n, {"alpha": 0.1 + 0.02 * n}, 0.950 + 0.0005 * (n % 2)) for n in range(1, 6)]
    lucky = trial(6, {"alpha": 0.9}, 0.953)
    poor = [cut(trial(n, {"alpha": 0.8 + 0.02 * n}, 0.93 + 0.0005 * (n % 3)), 1) for n in range(7, 11)]
    poor = [replace(result, setting={"alpha": 0.86 + 0.02 * i}) for i, result in enumerate(poor)]
    space = {"alpha": SPACE["alpha"]}
    assert choose([*good, lucky], space) == 6
    assert choose([*good, lucky, *poor], space) in range(1, 6)


def test_early_values_that_foretell_the_wrong_order_do_not_decide():
    """What leads at a third of the steps ends last: the complete trials show it, and the pruned are read by that."""
    space = {"alpha": SPACE["alpha"]}
    results = []
    for number in range(1, 25):
        alpha = (number % 12) / 12 + 0.02
        end, early = 0.95 - 0.04 * alpha, 0.80 + 0.08 * alpha
        whole = trial(number, {"alpha": alpha}, end, curve=((150, early), (450, end)))
        results.append(whole if number in (12, 15, 18, 21, 24) else cut(whole, 0))
    made = found(results, space)
    surface = made["surface"]
    assert sum(result.state == "complete" for result in results) == 5
    assert surface["mean"][0] > surface["mean"][-1] + 0.02


def test_a_trial_without_a_teacher_is_never_chosen():
    results = [trial(0, {}, 0.99, origin="no teacher"), *drawn(0, trials=6)]
    assert choose(results, SPACE) != 0
    assert choose(results[:1], SPACE) is None


def test_failed_and_pruned_trials_are_never_chosen():
    whole = drawn(1, trials=8, noise=0)
    best = max(whole, key=lambda result: result.value)
    failed = replace(best, state="failed", value=None, curve=(), reason="ran out of memory")
    others = [result for result in whole if result is not best]
    assert choose([*others, failed], SPACE) in {result.number for result in others}
    assert choose([*others, replace(best, state="pruned")], SPACE) in {result.number for result in others}
    assert choose([failed], SPACE) is None


def test_with_few_trials_the_highest_value_wins_and_of_equals_the_earlier():
    results = [trial(n, {"temperature": 2.0 * n, "alpha": 0.1}, value) for n, value in ((3, 0.9), (1, 0.8), (2, 0.9))]
    assert choose(results, SPACE) == 2


def test_of_equal_trials_the_earlier_is_chosen():
    results = [trial(n, {"temperature": 1.0 + n, "alpha": 0.1 * n}, 0.9) for n in range(1, 9)]
    assert choose(results, SPACE) == 1


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.randoms(use_true_random=False), st.integers(-300, 40))
def test_neither_order_nor_level_moves_the_choice(seed, random, thousandths):
    results = drawn(seed, trials=12)
    results = [*results[:8], *(cut(result, 1) for result in results[8:])]
    shift = thousandths / 1000
    moved = [
        replace(r, value=r.value + shift, curve=tuple((step, value + shift) for step, value in r.curve))
        for r in results
    ]
    random.shuffle(moved)
    assert choose(moved, SPACE) == choose(results, SPACE)


# --------------------------------------------------------------------------------------------- the landscape


def test_the_plateau_is_found_and_said():
    made = found(drawn(3, trials=60, noise=0.001), examples=100_000)
    temperature, alpha = made["plateau"]["temperature"], made["plateau"]["alpha"]
    # The truth is 0.001 below its best at temperatures 1.6 and 10, and at alpha 0.16 and 0.44.
    assert 0.0007 < made["standard_error"] < 0.0012
    assert 1.4 < temperature["low"] < 2.4
    assert 7 < temperature["high"] < 12
    assert 0.1 < alpha["low"] < 0.27
    assert 0.33 < alpha["high"] < 0.5
    assert temperature["sentence"].startswith(f"any temperature from {temperature['low']:.2g} to ")
    assert temperature["sentence"].endswith(" is as good here (within 0.09 points, one standard error)")


def test_a_peak_is_a_clear_best():
    peak = drawn(4, trials=60, noise=0.0005, of=lambda s: 0.95 - 0.15 * math.log(s["temperature"] / 4) ** 2)
    made = found(peak, examples=100_000)
    assert " is a clear best: outside " in made["plateau"]["temperature"]["sentence"]
    assert made["plateau"]["alpha"]["sentence"].startswith("alpha makes no difference here that this search could show")


def test_a_slope_ends_where_the_search_does():
    made = found(drawn(5, of=lambda s: 0.9 + 0.05 * s["alpha"], noise=0.001))
    assert made["plateau"]["alpha"]["high"] == 1
    assert made["plateau"]["alpha"]["sentence"].endswith("; 1 is an end of what was searched")


def test_where_nothing_matters_nothing_is_claimed():
    made = found(drawn(6, of=lambda s: 0.9))
    assert all("makes no difference here" in entry["sentence"] for entry in made["plateau"].values())
    assert made["importances"] == {}


def test_the_surface_is_the_smoothed_accuracy():
    made = found(drawn(7, trials=60, noise=0.001))
    surface = made["surface"]
    temperatures, alphas = (axis["values"] for axis in surface["axes"])
    assert [axis["name"] for axis in surface["axes"]] == ["temperature", "alpha"]
    assert (temperatures[0], temperatures[-1], alphas[0], alphas[-1]) == pytest.approx((1, 20, 0, 1))
    true = [[truth({"temperature": t, "alpha": a}) for a in alphas] for t in temperatures]
    assert np.abs(np.array(surface["mean"]) - true).max() < 0.006
    assert np.abs(np.array(surface["mean"]) - true).mean() < 0.0015
    assert np.array(surface["sd"]).shape == np.array(surface["mean"]).shape == (41, 41)
    by_number = {entry["number"]: entry for entry in made["trials"]}
    assert by_number[made["best"]]["smoothed"] == max(entry["smoothed"] for entry in made["trials"])


def test_importances_know_what_matters():
    space = {**SPACE, "lr": {"low": 1e-4, "high": 0.1, "log": True}}
    rng = np.random.default_rng(0)
    lrs = (1e-4 * 1000 ** rng.random(60)).tolist()
    results = [
        replace(r, setting={**r.setting, "lr": lr}, value=r.value - 0.02 * math.log10(lr / 3e-3) ** 2)
        for r, lr in zip(drawn(8, trials=60, noise=0.001), lrs, strict=True)
    ]
    shares = found(results, space)["importances"]
    assert next(iter(shares)) == "lr"
    assert sum(shares.values()) == pytest.approx(1)


def test_one_axis_alone():
    only = [replace(r, setting={"temperature": r.setting["temperature"]}) for r in drawn(9)]
    made = found(only, {"temperature": SPACE["temperature"]})
    assert [axis["name"] for axis in made["surface"]["axes"]] == ["temperature"]
    assert np.array(made["surface"]["mean"]).shape == (41,)


def test_alternatives_alone():
    space = {"objective": {"choices": ["soft-targets", "dkd", "dist"]}}
    level = {"soft-targets": 0.95, "dkd": 0.949, "dist": 0.90}
    rng = np.random.default_rng(1)
    names = [*level] * 5
    results = [trial(n, {"objective": o}, level[o] + 0.0005 * rng.normal()) for n, o in enumerate(names, start=1)]
    made = found(results, space)
    assert made["surface"] == {}
    assert made["plateau"]["objective"]["choices"] == ["soft-targets", "dkd"]
    assert made["plateau"]["objective"]["sentence"].startswith("objective may be any of soft-targets, dkd: ")
    assert made["importances"] == {"objective": 1.0}


def test_a_parameter_of_another_objective_is_absent():
    space = {
        "objective": {"choices": ["soft-targets", "dkd"]},
        "temperature": SPACE["temperature"],
        "dkd.temperature": SPACE["temperature"],
    }
    rng = np.random.default_rng(2)
    results = []
    for number in range(1, 31):
        name, t = ("soft-targets", "dkd")[number % 2], float(20 ** rng.random())
        key = "temperature" if name == "soft-targets" else "dkd.temperature"
        value = 0.93 + 0.02 * (name == "dkd") - 0.01 * math.log(t / 4) ** 2
        results.append(trial(number, {"objective": name, key: t}, value))
    made = found(results, space)
    assert made["trials"][made["best"] - 1]["setting"]["objective"] == "dkd"
    assert [axis["name"] for axis in made["surface"]["axes"]] == ["dkd.temperature"]
    assert set(made["plateau"]) == {"objective", "dkd.temperature"}


# ------------------------------------------------------------------------------------------------- the front


SIZES = {
    "small": {"parameters": 1000, "latency_ms": 0.4},
    "middle": {"parameters": 5000, "latency_ms": 0.1},
    "waste": {"parameters": 9000, "latency_ms": 0.5},
    "large": {"parameters": 20_000, "latency_ms": None},
}


def sized(levels, copies=4):
    space = {"student": {"choices": list(SIZES)}, "alpha": SPACE["alpha"]}
    pairs = [(name, level) for name, level in levels.items() for _ in range(copies)]
    results = [
        trial(n, {"student": name, "alpha": 0.1 * (n % 10)}, level, student=name)
        for n, (name, level) in enumerate(pairs, start=1)
    ]
    return results, space


def test_accuracy_beside_cost():
    results, space = sized({"large": 0.96, "small": 0.90, "waste": 0.93, "middle": 0.9595})
    made = found(results, space, SIZES)
    assert [entry["student"] for entry in made["front"]] == ["small", "middle", "waste", "large"]
    assert [entry["front_by_parameters"] for entry in made["front"]] == [True, True, False, True]
    assert [entry["front_by_latency_ms"] for entry in made["front"]] == [False, True, False, False]
    assert [entry["smoothed"] for entry in made["front"]] == pytest.approx([0.90, 0.9595, 0.93, 0.96], abs=0.004)
    said = made["plateau"]["student"]
    assert said["choices"] == ["middle", "large"]
    assert said["sentence"].startswith("`middle` (5,000 parameters) is as good here as `large` (20,000 parameters): ")


def test_the_smallest_student_may_be_the_best_or_the_only_one():
    results, space = sized({"middle": 0.96, "small": 0.90})
    space["student"]["choices"] = ["middle", "small"]
    assert found(results, space, SIZES)["plateau"]["student"]["sentence"].startswith(
        "no student smaller than `middle` (5,000 parameters) is as good here"
    )
    results, space = sized({"middle": 0.96}, copies=2)
    space["student"]["choices"] = ["middle"]
    made = found(results, space, SIZES)
    assert made["plateau"] == {
        "student": {
            "choices": ["middle"],
            "sentence": "`middle` (5,000 parameters) is the only student with a complete trial",
        }
    }
    assert len(made["front"]) == 1


@pytest.mark.parametrize(
    ("levels", "starts"),
    [
        (
            {"middle": 0.96, "waste": 0.90},
            "of those with a complete trial no student smaller than `middle` (5,000 parameters) is as good here",
        ),
        ({"middle": 0.9598, "waste": 0.96}, "`middle` (5,000 parameters) is as good here as `waste`"),
        ({"middle": 0.96}, "`middle` (5,000 parameters) is the only student with a complete trial"),
    ],
    ids=["the best", "as good", "the only one"],
)
def test_of_a_student_without_a_complete_trial_nothing_is_claimed(levels, starts):
    """The smallest was always pruned: whether it is as good is not known."""
    results, space = sized(levels)
    space["student"]["choices"] = ["small", *levels]
    small = trial(90, {"student": "small", "alpha": 0.5}, 0.90, student="small")
    made = found([*results, cut(small, 1)], space, SIZES)
    assert "small" not in [entry["student"] for entry in made["front"]]
    said = made["plateau"]["student"]["sentence"]
    assert said.startswith(starts)
    assert said.endswith("; no trial of `small` ran to its end")


def test_students_that_are_not_searched_have_no_front():
    assert found(drawn(0, trials=6))["front"] == []


# --------------------------------------------------------------------------------------------- what may happen


@pytest.mark.parametrize(
    "results",
    [
        [],
        [trial(0, {}, 0.9, origin="no teacher")],
        [trial(1, {"temperature": 2.0, "alpha": 0.1}, None, state="failed", reason="no")],
        [cut(result, 0) for result in drawn(0, trials=6)],
    ],
    ids=["none", "no teacher", "failed", "pruned"],
)
def test_without_a_complete_trial_there_is_no_landscape(results):
    made = found(results)
    assert made["best"] is None
    assert (made["surface"], made["plateau"], made["importances"], made["front"]) == ({}, {}, {}, [])


def test_one_trial_is_the_best_and_says_no_more():
    made = found(drawn(0, trials=1))
    assert made["best"] == 1
    assert made["standard_error"] == pytest.approx(math.sqrt(0.06 * 0.94 / 10_000), rel=0.2)
    assert (made["surface"], made["plateau"], made["importances"]) == ({}, {}, {})


def test_constant_values_and_one_setting_for_all():
    same = [trial(n, {"temperature": 4.0, "alpha": 0.1}, 0.9) for n in range(1, 8)]
    made = found(same)
    assert made["best"] == 1
    assert made["importances"] == {}


def test_it_is_the_same_each_time_and_in_any_order():
    results = [*drawn(2, trials=10), *(cut(r, 0) for r in drawn(3, trials=30)[10:])]
    first = found(results)
    assert found(list(reversed(results))) == first
    assert [entry["number"] for entry in first["trials"]] == sorted(result.number for result in results)


def test_a_large_search_is_read_in_seconds():
    space = {
        **SPACE,
        "lr": {"low": 1e-4, "high": 0.1, "log": True},
        "objective": {"choices": ["soft-targets", "dkd", "dist"]},
        "dkd.non_target_weight": {"low": 1, "high": 8, "log": False},
        "student": {"choices": ["mlp(hidden 32)"]},
    }
    rng = np.random.default_rng(0)
    results = [
        replace(
            r,
            setting={
                **r.setting,
                "lr": float(1e-4 * 1000 ** rng.random()),
                "objective": ("soft-targets", "dkd", "dist")[r.number % 3],
                "dkd.non_target_weight": float(1 + 7 * rng.random()),
                "student": "mlp(hidden 32)",
            },
        )
        for r in drawn(0, trials=200)
    ]
    start = time.process_time()
    assert found(results, space)["best"] is not None
    assert time.process_time() - start < 6
