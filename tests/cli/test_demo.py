import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import limbeck.recipe
from limbeck.record import read_record
from limbeck.report import demo_markdown, peek
from running import Interrupting, limbeck_says


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demo with few steps: what it printed, and where."""
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        said = limbeck_says("demo", "--out", out)
    assert said.status == 0, said.err
    return out, said.out


def shorten(patch: pytest.MonkeyPatch) -> None:
    read = limbeck.recipe.read_recipe

    def short(path: Path, changes: dict[str, Any]) -> Any:
        fewer = {"fit.epochs": 5, "proof.seeds": [0, 1]}
        if path.name == "whisper.yaml":
            fewer |= {"teacher.fit.epochs": 5}
        return read(path, {**changes, **fewer})

    patch.setattr(limbeck.recipe, "read_recipe", short)


def test_the_demo_tells_three_things(told: tuple[Path, str]):
    out, text = told
    sections = [line for line in text.splitlines() if line.startswith("#")]
    assert [line.split(".")[0] for line in sections] == ["# limbeck demo: handwritten digits", "## 1", "## 2", "## 3"]
    assert [f"temperature {t} " in text for t in (1, 4, 10)] == [True] * 3
    for arm in ("distilled", "scratch", "label-smoothing", "hard-teacher", "teacher"):
        assert f"| {arm} |" in text
    assert "limbeck peek" in text.splitlines()[-1]
    assert text.startswith((out / "report.md").read_text())


def test_it_leaves_two_runs_and_reports(told: tuple[Path, str]):
    out, _ = told
    for name in ("whisper", "more"):
        assert (out / name / "report.html").exists()
        assert read_record(out / name)["format"] == 1
    assert read_record(out / "more")["recipe"]["teacher"]["path"] == str(out / "whisper" / "teacher")
    assert read_record(out / "more")["data"]["student_train"] > read_record(out / "whisper")["data"]["student_train"]


@pytest.mark.parametrize("word", ["BEATS", "WORSE", "NO DIFFERENCE SHOWN", "NOT COMPARED"])
@pytest.mark.parametrize("rival", ["BEATS", "WORSE", "NO DIFFERENCE SHOWN", "NOT COMPARED"])
def test_the_closing_sentence_is_honest_whatever_was_shown(told: tuple[Path, str], word: str, rival: str):
    out, _ = told
    records = [read_record(out / name) for name in ("whisper", "more")]
    for record, said, against in zip(records, (word, rival), ("scratch", "hard-teacher"), strict=True):
        for verdict in (record["verdict"], *record["verdicts"]):
            if (verdict["arm"], verdict["against"]) == ("distilled", against):
                known = said != "NOT COMPARED"
                verdict.update(
                    word=said,
                    difference=0.01 if known else None,
                    interval=[0.0, 0.02] if known else None,
                    reason=None if known else "one seed",
                )
    closing = demo_markdown(peek(out / "whisper"), *records).rstrip().splitlines()[-1]
    assert re.fullmatch(r"\*\*On the same 120 images the distilled student .*\*\*", closing)
    assert word.split()[0] in closing
    assert ("taught more than its answers alone" in closing) == (rival == "BEATS")


def test_a_second_demo_replaces_the_first(told: tuple[Path, str], monkeypatch: pytest.MonkeyPatch):
    out, _ = told
    shorten(monkeypatch)
    said = limbeck_says("demo", "--out", out, "--json")
    assert said.status == 0
    assert list(json.loads(said.out)) == ["whisper", "more"]


def test_the_demo_deletes_nothing_else(tmp_path: Path):
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper" / "diary.txt").write_text("dear diary")
    said = limbeck_says("demo", "--out", tmp_path)
    assert said.status == 2
    assert "does not look like a run of limbeck" in said.err
    assert (tmp_path / "whisper" / "diary.txt").exists()


def test_an_interrupted_demo_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    press = Interrupting(1)
    monkeypatch.setattr("limbeck.cli.progress._Lines.__call__", lambda _, progress: press(progress))
    said = limbeck_says("demo", "--out", tmp_path / "x")
    assert said.status == 130
    assert "do: run limbeck demo again; it begins anew" in said.err


@pytest.mark.slow
def test_the_whole_demo(tmp_path: Path):
    words = [sys.executable, "-m", "limbeck", "demo", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert read_record(tmp_path / "whisper")["verdict"]["word"] == "BEATS"
