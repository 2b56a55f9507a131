"""`limbeck doctor RECIPE` as a user sees it."""

import json
from pathlib import Path

import pytest

from running import limbeck_says

pytestmark = pytest.mark.usefixtures("unsynced")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limbeck.estimate.TRIED", 0.0)


def test_a_line_for_each_finding_then_what_the_run_takes(recipe: Path):
    said = limbeck_says("doctor", recipe)
    assert (said.status, said.err) == (0, "")
    findings, takes = said.out.split("\n\n")
    assert [line.split()[:2] for line in findings.splitlines()] == [
        ["ok", "data"],
        ["ok", "duplicates"],
        ["ok", "overlap"],
        ["ok", "out"],
        ["ok", "student"],
        ["note", "teacher"],
    ]
    assert [line.split()[:2] for line in takes.splitlines()] == [
        ["time", "about"],
        ["disk", "about"],
        ["memory", "about"],
    ]
    assert "2 arms x 2 seeds x " in takes
    assert max(map(len, said.out.splitlines())) < 160


def test_what_is_to_be_done_stands_below(recipe: Path):
    assert limbeck_says("distill", recipe).status == 0
    lines = limbeck_says("doctor", recipe, "--set", "distill.temperature=900").out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("warning  out ")]
    assert lines[at + 1].strip() == "do: --overwrite deletes it, --set out=... leaves it alone"


def test_settings_are_changed_as_for_distill(recipe: Path, tmp_path: Path):
    said = limbeck_says("doctor", recipe, "--set", f"out={tmp_path / 'elsewhere'}")
    assert "elsewhere is free" in said.out
    assert limbeck_says("doctor", recipe, "--set", "fit.epoch=3").status == 2


def test_a_problem_decides_the_exit_status(recipe: Path, tmp_path: Path):
    said = limbeck_says("doctor", recipe, "--set", "device=cuda:99")
    assert said.status == 4
    assert "problem  device" in said.out
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "diary.txt").write_text("dear diary")
    assert limbeck_says("doctor", recipe).status == 2
    assert limbeck_says("doctor", tmp_path / "nothing.yaml").status == 2


def test_json_has_the_same(recipe: Path):
    found = json.loads(limbeck_says("doctor", recipe, "--json").out)
    assert set(found) == {"findings", "estimate"}
    assert {"name": "out", "severity": "ok", "do": "", "status": 0}.items() <= next(
        finding for finding in found["findings"] if finding["name"] == "out"
    ).items()
    assert [part["name"] for part in found["estimate"]["seconds"]] == [
        "start", "teacher", "labels", "students", "measuring",
    ]  # fmt: skip
    failed = json.loads(limbeck_says("doctor", recipe, "--set", "device=cuda:99", "--json").out)
    assert failed["estimate"] is None


def test_settings_without_a_recipe_are_refused(recipe: Path):
    said = limbeck_says("doctor", "--set", "out=x")
    assert said.status == 2
    assert "RECIPE" in said.err
