import math
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from limbeck.errors import DataError, RecipeError
from limbeck.files import read_json
from limbeck.report import peek, peek_json, peek_text
from limbeck.report.peek import loudest_whisper
from limbeck.rundir import ORIGIN
from limbeck.teachers import read_answers
from running import rows, tell


def test_a_teachers_answers_at_several_temperatures(finished: Path):
    look = peek(finished, 5, (1.0, 4.0, 20.0))
    store = next(finished.glob("labels/*"))
    _, signal, classes = read_answers(store)
    assert look.example == 5
    assert look.classes == classes == ("0", "1", "2")
    for answer, temperature in zip(look.answers, (1.0, 4.0, 20.0), strict=True):
        expected = (signal.logits[5].double() / temperature).softmax(0)
        assert answer.temperature == temperature
        assert answer.probabilities == pytest.approx(expected.tolist(), abs=1e-12)
        assert answer.entropy_bits == pytest.approx(stats.entropy(expected.numpy(), base=2), abs=1e-9)
    entropies = [answer.entropy_bits for answer in look.answers]
    assert entropies == sorted(entropies)


def test_the_example_is_shown_with_its_label(finished: Path):
    look = peek(finished, 0)
    assert look.label in look.classes
    assert len(look.picture) == 8
    assert {len(line) for line in look.picture} == {16}


def test_by_default_a_loud_whisper_is_chosen(finished: Path):
    _, signal, _ = read_answers(next(finished.glob("labels/*")))
    assert peek(finished).example == loudest_whisper(signal.logits)
    sure_and_loud = torch.tensor([[9.0, 3.0, -9.0], [9.0, 0.0, -9.0], [1.0, 1.0, 1.0], [50.0, 0.0, 0.0]])
    assert loudest_whisper(sure_and_loud) == 0
    assert loudest_whisper(torch.tensor([[1.0, 0.0], [1.0, 0.9]])) == 1


def test_bars(finished: Path):
    look = peek(finished, 0, (1.0, 10.0))
    lines = peek_text(look).splitlines()
    assert lines[0].startswith("example 0 (key ")
    assert f"truly {look.label})" in lines[0]
    for answer in look.answers:
        start = lines.index(f"temperature {answer.temperature:g}   (entropy {answer.entropy_bits:.2f} bits)")
        bars = lines[start + 1 : start + 4]
        assert [bar.split()[0] for bar in bars] == ["0", "1", "2"]
        for bar, share in zip(bars, answer.probabilities, strict=True):
            assert bar.endswith(f" {100 * share:6.2f} %")
            assert bar.count("█") == round(share * 320) // 8


def test_many_classes_are_cut_to_the_likeliest(finished: Path):
    look = peek(finished, 0, (4.0,))
    shown = [line.split()[0] for line in peek_text(look, most=2).splitlines() if line.endswith("%")]
    best = sorted(range(3), key=lambda c: -look.answers[0].probabilities[c])[:2]
    assert shown == [look.classes[c] for c in sorted(best)]


def test_as_plain_values(finished: Path):
    values = peek_json(peek(finished, 3, (2.0,)))
    assert set(values) == {"example", "key", "label", "answers"}
    (answer,) = values["answers"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert list(answer["probabilities"]) == ["0", "1", "2"]


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
@settings(max_examples=20, deadline=None)
def test_any_positive_temperature_will_do(finished: Path, temperature: float):
    (answer,) = peek(finished, 1, (temperature,)).answers
    assert sum(answer.probabilities) == pytest.approx(1)
    assert 0 <= answer.entropy_bits <= math.log2(3) + 1e-9


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_other_temperatures_are_refused(finished: Path, temperature: float):
    with pytest.raises(RecipeError, match="temperature"):
        peek(finished, 0, (1.0, temperature))


@pytest.mark.parametrize("example", [-1, 150, 10**9])
def test_examples_that_are_not_there(finished: Path, example: int):
    with pytest.raises(RecipeError, match=f"example {example} of 150"):
        peek(finished, example)


def test_what_is_no_run(tmp_path: Path):
    with pytest.raises(DataError, match="has no label store"):
        peek(tmp_path)
    with pytest.raises(DataError, match="has no label store"):
        peek(tmp_path / "nowhere")


def test_a_damaged_store(finished: Path, tmp_path: Path):
    shutil.copytree(finished, tmp_path / "run")
    shard = next((tmp_path / "run").glob("labels/*/shard-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match="bytes, sha256"):
        peek(tmp_path / "run")


def test_data_that_are_gone_or_changed_show_no_picture(finished: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    recipe = run / "recipe.resolved.yaml"
    whole = recipe.read_text()
    recipe.write_text(whole.replace("bands.npz", "gone.npz"))
    assert (peek(run, 0).label, peek(run, 0).picture) == (None, ())
    assert "truly" not in peek_text(peek(run, 0))
    recipe.write_text(whole.replace("source: npz", "source: digits").replace("layout: auto, ", ""))
    recipe.write_text("data: {source: digits}\nteacher: {kind: saved, path: T}\nstudent: {model: {name: mlp}}\n")
    assert (peek(run, 0).label, peek(run, 0).picture) == (None, ())
    recipe.unlink()
    assert peek(run, 0).label is None


def test_a_run_from_python_can_be_looked_at(tmp_path: Path):
    tell(tmp_path, train=rows(0, 60), seeds=1, arms=["distilled"])
    look = peek(tmp_path, 0)
    assert look.label is None
    assert len(look.answers) == 3


def test_it_is_the_teacher_that_is_looked_at_and_no_assistant(tmp_path: Path):
    tell(tmp_path, generations=4, arms=["distilled"])
    assert len(list(tmp_path.glob("labels/*/manifest.json"))) == 4
    _, signal, _ = read_answers(tmp_path / "labels" / read_json(tmp_path / ORIGIN)["teacher"])
    look = peek(tmp_path, 5, (1.0,))
    assert look.answers[0].probabilities == pytest.approx(signal.logits[5].double().softmax(0).tolist(), abs=1e-12)


@pytest.fixture
def searched(finished: Path, tmp_path: Path) -> Path:
    """The run with a search in it that has a trial, a proof, and the run of its best recipe, just begun."""
    out = tmp_path / "searched"
    shutil.copytree(finished, out)
    for name in ("trials/0007", "proof/own", "best"):
        (out / "tune" / name).mkdir(parents=True)
    (out / "tune" / "search.json").write_text("{}")
    shutil.copy(out / ORIGIN, out / "tune" / "best")
    return out


@pytest.mark.parametrize("part", ["tune", "tune/trials/0007", "tune/proof/own"])
def test_a_part_of_a_search_has_heard_the_teacher_of_the_run(
    searched: Path, part: str, monkeypatch: pytest.MonkeyPatch
):
    look = peek(searched, 5)
    assert look.label is not None
    assert peek(searched / part, 5) == look
    monkeypatch.chdir(searched / part)
    assert peek(Path(), 5) == look


@pytest.mark.parametrize("part", ["tune/trials/0008", "tune/best", "tune/trials/0007/arms/distilled", "arms"])
def test_other_directories_in_a_run_have_no_labels(searched: Path, part: str):
    (searched / "tune/trials/0007/arms/distilled").mkdir(parents=True)
    with pytest.raises(DataError, match="has no label store"):
        peek(searched / part)
