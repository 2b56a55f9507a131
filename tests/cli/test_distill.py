import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from limbeck.cli.distill import _check_gate, _gate
from limbeck.errors import GateError, RecipeError
from limbeck.measurement import Verdict
from limbeck.progress import Progress
from limbeck.recipe_text import read_yaml
from limbeck.record import read_record
from running import limbeck_says, students

pytestmark = pytest.mark.usefixtures("unsynced")


def test_the_whole_story(recipe: Path, tmp_path: Path):
    said = limbeck_says("distill", recipe)
    record = read_record(tmp_path / "run")
    assert said.status == 0
    assert said.out.splitlines()[0] == f"distilled {record['verdicts'][0]['sentence']}."
    assert said.out.splitlines()[-1] == f"report: {tmp_path}/run/report.md"
    assert "scratch 1: 10 of 10" in said.err
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= {
        "recipe.resolved.yaml",
        "environment.json",
        "run.log",
        "metrics.jsonl",
        "labels",
        "teacher",
        "arms",
        "record.json",
        "report.md",
        "report.html",
    }


def test_json_on_stdout_and_progress_on_stderr(recipe: Path, tmp_path: Path):
    said = limbeck_says("distill", recipe, "--json", "--set", "proof.seeds=[4]")
    record = json.loads(said.out)
    assert record["recipe"]["proof"]["seeds"] == [4]
    assert "labels: 150 of 150" in said.err


def test_settings_are_yaml(recipe: Path, tmp_path: Path):
    said = limbeck_says(
        "distill", recipe, "--set", "distill.temperature=8", "--set", "fit.optimizer.lr=1e-2",
        "--set", "fit.schedule={name: constant}", "--set", "data.labelled=null", "--set", "fit.epochs=1",
    )  # fmt: skip
    assert said.status == 0
    resolved = read_yaml(tmp_path / "run" / "recipe.resolved.yaml")
    assert resolved["distill"]["objective"]["temperature"] == 8.0
    assert resolved["fit"]["optimizer"] == {**resolved["fit"]["optimizer"], "name": "adamw", "lr": 0.01}
    assert resolved["fit"]["schedule"]["name"] == "constant"


def test_the_resolved_recipe_gives_the_same_students(recipe: Path, tmp_path: Path, finished: Path):
    said = limbeck_says("distill", finished / "recipe.resolved.yaml", "--set", f"out={tmp_path}/again")
    assert said.status == 0
    assert students(read_record(tmp_path / "again")) == students(read_record(finished))


@pytest.mark.parametrize("setting", ["nothing", "=1", "a.b", "fit.epochs=[1", "fit.epochs=!x 1", "fit..epochs=1"])
def test_settings_that_are_none(recipe: Path, tmp_path: Path, setting: str):
    said = limbeck_says("distill", recipe, "--set", setting)
    assert said.status == 2
    assert said.err.startswith("limbeck: ")
    assert not (tmp_path / "run").exists()


# --- gates --------------------------------------------------------------------------------------------------------


def verdict(low: float | None) -> Verdict:
    interval = None if low is None else (low, low + 0.02)
    return Verdict(
        word="NOT COMPARED" if low is None else "BEATS",
        arm="distilled",
        against="scratch",
        difference=None if low is None else low + 0.01,
        interval=interval,
        seeds=(0, 1),
        examples=9,
        reason="one seed",
    )


@pytest.mark.parametrize(
    ("text", "low", "met"),
    [
        ("gain > 0", 0.001, True),
        ("gain>0", 0.0, False),
        ("gain >= 0", 0.0, True),
        ("gain > 1.5", 0.0149, False),
        ("gain > 1.5", 0.0151, True),
        (" gain > -1 ", -0.005, True),
        ("gain > 0", None, False),
    ],
)
def test_gates(text: str, low: float | None, met: bool):
    gate = _gate(text)
    assert gate is not None
    if met:
        _check_gate(*gate, verdict(low))
    else:
        with pytest.raises(GateError, match="distilled"):
            _check_gate(*gate, verdict(low))


@pytest.mark.parametrize("text", ["", "gain", "gain > x", "gain < 0", "loss > 0", "gain > 0 or 1", "gain > 1e9x"])
def test_gates_that_are_none(text: str):
    with pytest.raises(RecipeError, match="--require"):
        _gate(text)


def test_a_gate_that_is_not_met(recipe: Path, tmp_path: Path):
    said = limbeck_says("distill", recipe, "--require", "gain > 90")
    assert said.status == 5
    assert "the interval's lower end is" in said.err
    assert "expected: gain > 90 points" in said.err
    assert "distilled" in said.out
    again = limbeck_says("distill", recipe, "--require", "gain > -300", "--resume")
    assert again.status == 0
    assert limbeck_says("distill", tmp_path / "none", "--require", "gain = 1").err.startswith("limbeck: --require")


# --- interruption -------------------------------------------------------------------------------------------------


def test_the_resume_command_is_printed_and_works(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupting(self: Any, progress: Progress) -> None:
        if progress.stage == "scratch 0" and progress.done == 3:
            signal.raise_signal(signal.SIGINT)

    words = ["distill", str(recipe), "--set", f"out={tmp_path}/my run", "--allow-weak-teacher", "--json", "--overwrite"]
    with monkeypatch.context() as patch:
        patch.setattr("limbeck.cli.progress._Lines.__call__", interrupting)
        said = limbeck_says(*words)
    assert said.status == 130
    assert said.out == ""
    assert said.err.startswith("limbeck: stopped by SIGINT after a safe checkpoint\n")
    command = said.err.strip().splitlines()[-1].removeprefix("  do: ")
    assert shlex.split(command) == ["limbeck", *words[:-1], "--resume"]
    assert limbeck_says(*shlex.split(command)[1:]).status == 0
    assert limbeck_says("distill", recipe).status == 0
    assert students(read_record(tmp_path / "my run")) == students(read_record(tmp_path / "run"))


def test_a_real_signal(recipe: Path, tmp_path: Path):
    words = [sys.executable, "-m", "limbeck", "distill", str(recipe), "--set", "fit.epochs=400"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log, began = tmp_path / "run" / "metrics.jsonl", time.monotonic()
    while not (log.exists() and '"distilled"' in log.read_text()):
        assert child.poll() is None
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert "stopped by SIGINT after a safe checkpoint" in err
    assert err.rstrip().endswith("--set fit.epochs=400 --resume")
    assert list(tmp_path.glob("run/arms/distilled/seed-0/checkpoints/step-*/manifest.json"))
