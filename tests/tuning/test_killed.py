"""Whole searches killed with SIGKILL, and resumed; each at the command line, as users start them."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from searching import landscape_in

from limbeck.files import describe
from limbeck.record import read_record

RECIPE = """
data: {source: digits, labelled: 200, unlabelled: false, validation: 100}
teacher: {kind: train, model: {name: mlp, hidden: [32]}, fit: {epochs: 3, threads: 1}}
student: {model: {name: mlp, hidden: [16]}}
fit: {epochs: 30, batch_size: 50, threads: 1, checkpoint_seconds: 0.05, optimizer: {name: adamw, lr: 0.01}}
proof: {seeds: [0, 1], arms: [distilled, scratch]}
tune: {trials: 8, jobs: 1}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def start(recipe: Path, out: Path, *flags: str, **options: Any) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "limbeck", "tune", str(recipe), "--set", f"out={out}", *flags]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def students(out: Path) -> dict[str, Any]:
    return {str(path.relative_to(out)): describe(path) for path in out.glob("tune/**/student/model.safetensors")}


def trials_begun(out: Path) -> int:
    return len(list(out.glob("tune/trials/*/recipe.resolved.yaml")))


def wait_until(out: Path, trials: int, child: subprocess.Popen[str]) -> None:
    """Wait until so many trials have begun, or the search is over."""
    while trials_begun(out) < trials:
        if child.poll() is not None:
            assert child.returncode == 0, child.communicate()[1]
            return
        time.sleep(0.005)


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_a_killed_search_ends_as_one_left_alone(recipe_file: Path, tmp_path: Path, kills: int):
    whole = start(recipe_file, tmp_path / "whole")
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors

    chance, killed = random.Random(kills), 0
    while True:
        child = start(recipe_file, tmp_path / "killed", "--resume")
        if killed < kills:
            wait_until(tmp_path / "killed", chance.randint(1, 8), child)
            time.sleep(chance.uniform(0.0, 0.3))
            child.send_signal(signal.SIGKILL)
            killed += child.wait() == -signal.SIGKILL
        _, errors = child.communicate()
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL, errors

    assert killed > 0
    assert landscape_in(tmp_path / "killed") == landscape_in(tmp_path / "whole")
    assert students(tmp_path / "killed") == students(tmp_path / "whole")
    records = [read_record(tmp_path / name / "tune") for name in ("whole", "killed")]
    assert records[0]["verdicts"] == records[1]["verdicts"]


def test_a_killed_trial_goes_on_from_its_checkpoint(recipe_file: Path, tmp_path: Path):
    out = tmp_path / "run"
    slow = ["--set", "fit.epochs=300", "--set", "tune.trials=2"]
    child = start(recipe_file, out, *slow)
    place = out / "tune/trials/0001/arms/distilled/seed-1000"
    while not list(place.glob("checkpoints/step-*/manifest.json")) and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    newest = max(int(path.parent.name.removeprefix("step-")) for path in place.glob("checkpoints/step-*/manifest.json"))

    again = start(recipe_file, out, *slow, "--resume")
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    lines = [json.loads(line) for line in (out / "tune/trials/0001/metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps))
    assert newest > 0
    resumed = [step for step in steps if step > newest]
    assert resumed, "what was done before the checkpoint is not done again"
    # A fit leaves a line every so many steps, counted from where it began: the pace shows where that was.
    assert (resumed[0] - newest) <= 1 + max(steps) // 100


def test_ctrl_c_says_how_to_go_on_and_leaves_nobody_behind(recipe_file: Path, tmp_path: Path):
    out = tmp_path / "run"
    flags = ["--set", "tune.jobs=2", "--set", "fit.epochs=300"]
    child = start(recipe_file, out, *flags)
    wait_until(out, 3, child)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate()
    assert child.returncode == 130, errors
    command = errors.strip().splitlines()[-1].removeprefix("  do: ")
    assert command.startswith("limbeck tune ")
    assert command.endswith("--resume")
    assert "Traceback" not in errors
    assert helpers_of(out) == []


def test_helpers_do_not_outlive_a_killed_search(recipe_file: Path, tmp_path: Path):
    out = tmp_path / "run"
    child = start(recipe_file, out, "--set", "tune.jobs=2", "--set", "fit.epochs=300")
    wait_until(out, 4, child)
    assert child.poll() is None
    assert helpers_of(out) != []
    child.send_signal(signal.SIGKILL)
    child.communicate()
    until = time.monotonic() + 20
    while helpers_of(out) and time.monotonic() < until:
        time.sleep(0.05)
    assert helpers_of(out) == []


def helpers_of(out: Path) -> list[int]:
    """The processes that work on the search of a run as helpers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if b"--helps" in words and os.fsencode(f"out={out}") in words:
            found.append(int(process.name))
    return found
