"""A whole run, killed with SIGKILL at random moments and resumed, ends in the same bits as one left alone."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from limbeck.files import describe
from limbeck.record import read_record

RECIPE = """
data: {source: digits, labelled: 200}
teacher: {kind: train, model: {name: mlp, hidden: [32]}, fit: {epochs: 12, threads: 1, checkpoint_seconds: 0.05}}
student: {model: {name: convnet, channels: [4, 8]}}
fit: {epochs: 4, threads: 1, checkpoint_seconds: 0.05, augment: {shift: 1}, accumulate: 2}
proof: {seeds: [0, 1], arms: [distilled, scratch]}
"""


def command(recipe: Path, out: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "limbeck", "distill", str(recipe), "--set", f"out={out}", *flags]


def students(out: Path) -> dict[str, object]:
    paths = [*out.glob("arms/*/*/student/model.safetensors"), *out.glob("arms/*/*/predictions.safetensors")]
    paths += [*out.glob("teacher/model.safetensors"), *out.glob("labels/*/shard-*")]
    return {str(path.relative_to(out)): describe(path) for path in paths}


def kill_and_resume(recipe: Path, out: Path, kills: int, seconds: float, rng: random.Random) -> int:
    """Run until it is done, killed up to so many times; returns how often it was killed."""
    killed = 0
    while True:
        child = subprocess.Popen(command(recipe, out, "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            if killed < kills:
                child.wait(timeout=rng.uniform(0.3, seconds))
            _, errors = child.communicate()
            assert child.returncode == 0, errors.decode()
            return killed
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.communicate()
            killed += 1


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_a_killed_run_ends_in_the_same_bits(tmp_path: Path, kills: int):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    began = time.monotonic()
    subprocess.run(command(recipe, tmp_path / "whole"), check=True, capture_output=True)
    seconds = time.monotonic() - began

    killed = kill_and_resume(recipe, tmp_path / "killed", kills, seconds, random.Random(kills))

    assert killed > 0
    assert students(tmp_path / "killed") == students(tmp_path / "whole")
    assert len(students(tmp_path / "whole")) == 10
    records = [read_record(tmp_path / name) for name in ("whole", "killed")]
    assert records[0]["verdicts"] == records[1]["verdicts"]
