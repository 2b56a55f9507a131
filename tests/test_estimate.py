"""What a run will take is said before it starts, and comes true."""

import time
from pathlib import Path
from typing import Any

import pytest

from limbeck.estimate import Estimate, Part, in_words, total
from limbeck.examination import examine
from limbeck.preparation import Materials
from limbeck.recipe import recipe_from_tree
from limbeck.training import StepCost
from running import TEST, TRAIN, run_tree, tree

pytestmark = pytest.mark.usefixtures("unsynced")

STEP = 0.01


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step takes a hundredth of a second."""
    monkeypatch.setattr("limbeck.estimate.step_cost_of", lambda *_, **__: StepCost(STEP, 1000))


def estimated(values: dict[str, Any], **changes: Any) -> Estimate:
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    found = examine(recipe_from_tree(values, changes, where="the test"), Materials())
    assert found.estimate is not None, found.findings
    return found.estimate


def part(parts: tuple[Part, ...], name: str) -> Part:
    (one,) = [part for part in parts if part.name == name]
    return one


@pytest.fixture
def values(npz: Path, tmp_path: Path) -> dict[str, Any]:
    return tree(npz, tmp_path / "run")


def test_the_estimate_of_a_small_run_comes_true(tmp_path: Path):
    fit = {"epochs": 60, "batch_size": 32, "threads": 1}
    values = {
        "data": {"source": "digits", "labelled": 300, "unlabelled": False},
        "teacher": {"kind": "train", "model": {"name": "mlp", "hidden": [64]}, "fit": {**fit, "epochs": 5}},
        "student": {"model": {"name": "mlp", "hidden": [16]}},
        "fit": fit,
        "proof": {"seeds": [0, 1], "arms": ["distilled", "scratch"]},
        "out": str(tmp_path / "run"),
    }
    estimated(values)  # what is loaded once in a process is loaded now
    said = total(estimated(values).seconds)
    began = time.perf_counter()
    run_tree(values)
    took = time.perf_counter() - began
    assert took / 2.5 < said < 2.5 * took


@pytest.mark.usefixtures("steady")
def test_the_parts_by_hand(values: dict[str, Any]):
    found = estimated(values)
    # 150 examples in batches of 32: 4 epochs are 19 steps and 2 are 10; each term's gradient is looked at once.
    assert part(found.seconds, "teacher").amount == pytest.approx((19 + 1) * STEP)
    assert part(found.seconds, "students").amount == pytest.approx(2 * (10 + 2) * STEP + 2 * (10 + 1) * STEP)
    assert part(found.seconds, "students").says.startswith("2 arms x 2 seeds x 0.1")
    assert part(found.seconds, "labels").says.startswith(f"{TRAIN} answers x ")
    # A teacher of 64-16-3, students of 64-8-3, in float32; logits of 3 float16 beside a key and two losses.
    assert part(found.disk, "teacher").amount == 1000 + 4 * (65 * 16 + 17 * 3)
    assert part(found.disk, "students").amount == 4 * (1000 + 4 * (65 * 8 + 9 * 3) + 4 * 3 * TEST)
    assert part(found.disk, "labels").amount == TRAIN * (32 + 8 + 6)


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"fit__epochs": 20}, (94 + 94 + 3) / (10 + 10 + 3)),
        ({"proof__seeds": [0, 1, 2, 3, 4, 5]}, 3),
        ({"proof__arms": ["distilled", "scratch", "shuffled-teacher", "label-smoothing"]}, 2),
    ],
)
def test_more_epochs_seeds_and_arms_take_more(values: dict[str, Any], changes: dict[str, Any], factor: float):
    before, after = estimated(values), estimated(values, **changes)
    ratio = part(after.seconds, "students").amount / part(before.seconds, "students").amount
    assert ratio == pytest.approx(factor, rel=0.01)


@pytest.mark.usefixtures("steady")
def test_a_live_teacher_is_asked_at_every_step_of_those_who_hear_it(values: dict[str, Any], monkeypatch):
    before = part(estimated(values).seconds, "students").amount
    after = part(estimated(values, distill__views="live").seconds, "students").amount
    assert after > before
    only = {"proof__arms": ["scratch"]}
    assert part(estimated(values, **only).seconds, "students").amount == pytest.approx(
        part(estimated(values, **only, distill__views="live").seconds, "students").amount
    )


@pytest.mark.usefixtures("steady")
def test_assistants_take_their_time(values: dict[str, Any]):
    values["student"]["assistants"] = [{"name": "mlp", "hidden": [12]}]
    found = estimated(values)
    assert part(found.seconds, "assistants").amount > (10 + 2) * STEP
    assert part(found.disk, "labels").amount == 2 * TRAIN * (32 + 8 + 6)


@pytest.mark.usefixtures("steady")
def test_what_is_there_already_takes_nothing(values: dict[str, Any]):
    run_tree(values)
    found = estimated(values)
    assert part(found.seconds, "labels") == Part("labels", 0.0, "all there")
    assert {"teacher", "labels"}.isdisjoint(part.name for part in found.disk)
    assert "teacher" not in {part.name for part in found.seconds}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.00123, "1.2 ms"),
        (0.5, "0.5 s"),
        (54, "54 s"),
        (99, "99 s"),
        (180, "3 min"),
        (5900, "98 min"),
        (9000, "2.5 h"),
    ],
)
def test_times_are_said_as_people_say_them(seconds: float, words: str):
    assert in_words(seconds) == words
