import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from limbeck.cli import app, step_costs
from limbeck.cli.progress import _Lines, facts_text, progress_on_stderr
from limbeck.objectives import CATALOGUE
from limbeck.progress import Progress
from limbeck.teachers import TEACHERS
from running import limbeck_says

VERBS = {
    "demo": {"--out", "--json"},
    "distill": {"recipe", "--set", "--resume", "--overwrite", "--allow-weak-teacher", "--require", "--json"},
    "label": {"recipe", "--set", "--allow-weak-teacher", "--verify", "--json"},
    "tune": {"recipe", "--set", "--resume", "--overwrite", "--allow-weak-teacher", "--json", "--helps"},
    "predict": {"bundle", "files", "--temperature", "-T", "--top", "--threads", "--json"},
    "peek": {"run", "--example", "--temperature", "-T", "--json"},
    "report": {"run", "--json"},
    "export": {
        *("run", "--to", "--arm", "--seed", "--licence", "--least-agreement", "--most-drop", "--json"),
    },
    "bench": {"run", "--price", "--seconds", "--arm", "--seed", "--json"},
    "list": {"kind", "--time", "--json"},
    "doctor": {"recipe", "--set", "--json"},
}
"""Every verb with its arguments and options: whoever adds one, adds it here and to the documents."""


def test_verbs_and_options_are_these():
    command: Any = typer.main.get_command(app)
    found = {
        name: {word for parameter in verb.params for word in (parameter.opts or [parameter.name])} - {"--help", "-h"}
        for name, verb in command.commands.items()
    }
    assert found == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_helps_itself(verb: str):
    said = limbeck_says(verb, "--help")
    assert said.status == 0
    assert "Examples" in said.out
    assert f"limbeck {verb}" in said.out


def test_help_is_quick_and_does_not_wait_for_torch():
    code = "import sys, limbeck.cli; limbeck.cli.app(['--help'], standalone_mode=False); print(*sys.modules, sep='\\n')"
    seen = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seen.append(time.perf_counter() - began)
    modules = set(done.stdout.splitlines())
    assert "limbeck.cli" in modules
    assert not {"torch", "numpy", "scipy", "sklearn", "pydantic", "PIL"} & modules
    # 0.3 s on a quiet machine; the modules above are what can spoil it, a busy machine is allowed more.
    assert min(seen) < 1.0


def test_without_a_verb_it_helps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "100")
    said = limbeck_says()
    assert said.status == 2
    for verb in VERBS:
        assert verb in said.out


@pytest.mark.parametrize("words", [("nonsense",), ("distill",), ("peek",), ("distill", "r.yaml", "--sett", "x=1")])
def test_usage_is_status_two(words: tuple[str, ...]):
    said = limbeck_says(*words)
    assert said.status == 2
    assert "Usage: " in said.err
    assert "Traceback" not in said.err


def test_as_a_module():
    words = [sys.executable, "-m", "limbeck", "distill", "r.yaml", "--require", "luck"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("limbeck: --require 'luck'\n  expected: gain > POINTS")


def test_a_reader_that_leaves_is_no_error():
    words = [sys.executable, "-m", "limbeck", "distill", "--help"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_traceback_is_shown_to_who_asks(monkeypatch: pytest.MonkeyPatch):
    assert "Traceback" not in limbeck_says("list", "nothing").err
    monkeypatch.setenv("LIMBECK_DEBUG", "1")
    assert "Traceback" in limbeck_says("list", "nothing").err


# --- the small verbs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sources", "teachers", "models", "objectives", "arms", "formats"])
def test_list(kind: str):
    said = limbeck_says("list", kind)
    listed = json.loads(limbeck_says("list", kind, "--json").out)
    assert said.status == 0
    assert list(listed) == [kind]
    for name, entry in listed[kind].items():
        assert name in said.out
        assert entry["is"].endswith(".")
        assert entry["is"] in said.out
    descriptions = [entry["is"] for entry in listed[kind].values()]
    assert len(set(descriptions)) > len(descriptions) // 3


def test_list_everything():
    listed = json.loads(limbeck_says("list", "--json").out)
    assert list(listed) == ["sources", "teachers", "models", "objectives", "arms", "formats"]
    assert listed["models"]["mlp"]["settings"] == {"hidden": [800, 800], "dropout": 0.0}
    assert listed["sources"]["idx"]["settings"]["path"] == "required"
    arms = ["distilled", "scratch", "label-smoothing", "hard-teacher", "shuffled-teacher", "direct"]
    assert list(listed["arms"]) == arms
    assert len({entry["is"] for entry in listed["arms"].values()}) == len(arms)
    assert list(listed["teachers"]) == ["train", *TEACHERS, "ensemble"]
    assert listed["teachers"]["ensemble"]["settings"] == {
        "members": "required",
        "weights": None,
        "mean": "probabilities",
    }


def test_an_objective_is_listed_with_its_paper_and_what_it_needs():
    listed = json.loads(limbeck_says("list", "objectives", "--json").out)["objectives"]
    said = limbeck_says("list", "objectives").out
    assert list(listed) == list(CATALOGUE)
    for entry in listed.values():
        traits = entry["traits"]
        assert traits["paper"]
        assert traits["paper"] in said
        assert traits["formula"]
        assert traits["formula"] in said
        assert f"cost {traits['cost']}\n" in said
        assert set(traits["needs"]) <= {"labels", "logits", "features", "maps"}
    assert "needs logits and labels; coupled to the example; 0 at the teacher" in said
    assert listed["hint"]["settings"] == {"student": "required", "teacher": "required"}


def test_doctor():
    found = json.loads(limbeck_says("doctor", "--json").out)
    assert {"limbeck", "python", "torch", "cores", "gpus", "device", "threads", "memory_bytes", "disk_free"} <= set(
        found
    )
    said = limbeck_says("doctor")
    assert said.status == 0
    for name in found:
        assert f"\n{name} " in f"\n{said.out}"
    assert "GiB" in said.out


def test_peek(finished: Path):
    said = limbeck_says("peek", finished, "--example", "7", "-T", "1", "-T", "20")
    assert said.status == 0
    assert said.out.count("\ntemperature ") == 2
    assert "example 7 (key " in said.out
    assert "temperature 20 " in said.out
    assert limbeck_says("peek", finished).out.count("\ntemperature ") == 3
    values = json.loads(limbeck_says("peek", finished, "--json").out)
    assert [answer["temperature"] for answer in values["answers"]] == [1.0, 4.0, 10.0]


def test_report(finished: Path, tmp_path: Path):
    (tmp_path / "record.json").write_bytes((finished / "record.json").read_bytes())
    said = limbeck_says("report", tmp_path)
    assert said.status == 0
    assert said.out == (tmp_path / "report.md").read_text() == (finished / "report.md").read_text()
    assert json.loads(limbeck_says("report", tmp_path, "--json").out)["verdict"]["arm"] == "distilled"


# --- progress -----------------------------------------------------------------------------------------------------


def test_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    clock = iter([100.0, 101.0, 106.0, 106.5])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    lines = _Lines()
    for done in (1, 2, 3, 4):
        lines(Progress("fit", done, 4, {"loss": 0.5, "data_seconds": 1.0, "student_seconds": 3.0}))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [f"fit: {done} of 4  loss 0.5  time: data 25 %, student 75 %" for done in (1, 3, 4)]


def test_progress_without_facts():
    assert facts_text(Progress("labels", 1, 2)).strip() == ""
    assert facts_text(Progress("x", 1, 2, {"data_seconds": 0.0})).strip() == ""


def test_the_pace_of_labelling_is_said_beside_what_the_machine_can_do():
    facts = {"examples_per_second": 2345.2, "bf16_peak_share": 0.7812}
    assert facts_text(Progress("labels", 1, 2, facts)) == "2,345 examples/s, 78 % of this machine's bf16 matmul peak"
    assert facts_text(Progress("labels", 1, 2, {"examples_per_second": 3.0})) == "3 examples/s"


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with progress_on_stderr() as watch:
        watch(Progress("first", 1, 2, {"loss": 1.0}))
        watch(Progress("second", 1, 1))
    assert capsys.readouterr().out == ""


def test_list_measures_what_a_step_costs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(step_costs, "EXAMPLES", 6)
    monkeypatch.setattr(step_costs, "MAPS", (3, 4, 4))
    said = limbeck_says("list", "objectives", "--time", "--json")
    listed = json.loads(said.out)["objectives"]
    assert set(listed) == set(CATALOGUE)
    assert all(entry["milliseconds"] > 0 for entry in listed.values())
    assert re.search(r"cost N C, \d+\.\d\d ms here", limbeck_says("list", "objectives", "--time").out)
    assert "milliseconds" not in json.loads(limbeck_says("list", "objectives", "--json").out)["objectives"]["dkd"]
