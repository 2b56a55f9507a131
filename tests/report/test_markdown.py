import copy
from typing import Any

import pytest

from limbeck.measurement import Verdict
from limbeck.report import closing_sentence, report_markdown
from limbeck.report.markdown import arms_table


def test_the_report_says_what_was_done(record: dict[str, Any]):
    text = report_markdown(record)
    assert str(Verdict.from_dict(record["verdict"])) in text
    assert "0.1 · CE(labels) + 0.9 · 4² KL(teacher at T 4 ‖ student at T 4)" in text
    assert "Budget: 10 steps of 32 examples, the same in every arm" in text
    assert "Mean ± standard deviation over 2 seeds on 60 test examples" in text
    assert "seed 0 | seed 1" in text
    assert record["environment"]["torch"] in text
    assert "limbeck distill" in text
    assert "\n\n\n" not in text
    assert text.endswith(".\n")


def test_it_is_a_pure_function(record: dict[str, Any]):
    before = copy.deepcopy(record)
    assert report_markdown(record) == report_markdown(record)
    assert record == before


def test_every_row_has_as_many_cells_as_the_head(record: dict[str, Any]):
    for line in arms_table(record).splitlines():
        assert line.count("|") == 8
    names = [line.split("|")[1].strip() for line in arms_table(record).splitlines()[2:]]
    assert names == ["distilled", "scratch", "teacher"]


def test_what_was_not_measured_is_a_dash(record: dict[str, Any]):
    unknown = dict.fromkeys(("accuracy", "nll", "ece", "errors", "agreement"))
    for fits in record["arms"].values():
        for fit in fits:
            fit.update(unknown)
    record["teacher"].update(unknown, train_accuracy=None, parameters=None, verdict=None)
    record["gap_share"] = record["mcnemar"] = {}
    none = {"word": "NOT COMPARED", "difference": None, "interval": None, "reason": "no labels", "examples": 0}
    record["verdict"] = {**record["verdict"], **none}
    record["verdicts"] = [record["verdict"]]
    text = report_markdown(record)
    assert "NOT COMPARED with scratch: no labels" in text
    assert "None" not in text.replace("None.", "")
    assert "nan" not in text
    assert "| distilled | – | – | – | – | – | – |" in text


def verdict(word: str, **changes: Any) -> dict[str, Any]:
    interval = {"BEATS": [0.01, 0.03], "WORSE": [-0.03, -0.01], "NO DIFFERENCE SHOWN": [-0.01, 0.03]}[word]
    given = {
        "word": word,
        "arm": "distilled",
        "against": "scratch",
        "difference": sum(interval) / 2,
        "interval": interval,
        "unit": "accuracy",
        "seeds": [0, 1],
        "examples": 9,
    }
    return {**given, **changes}


@pytest.mark.parametrize(
    ("word", "end"),
    [
        ("BEATS", "and the teacher's doubts taught more than its answers alone."),
        ("NO DIFFERENCE SHOWN", "were not shown to teach less."),
        ("WORSE", "without its doubts, taught more."),
    ],
)
def test_free_labels_are_not_taken_for_dark_knowledge(word: str, end: str):
    first = verdict("BEATS")
    record = {"verdict": first, "verdicts": [first, verdict(word, against="hard-teacher")]}
    assert closing_sentence(record).endswith(end)
    assert closing_sentence({"verdict": first, "verdicts": [first]}).endswith("n = 9).")
    lost = verdict("WORSE")
    worse = {"verdict": lost, "verdicts": [lost, verdict(word, against="hard-teacher")]}
    assert closing_sentence(worse).startswith("distilled WORSE than scratch by 2.0 points")


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"official_test": False}, "the run's own split"),
        ({"overlap": 7}, "7 test examples are in the training set too; they were kept"),
        ({"overlap": 7, "overlap_dropped": True}, "they were left out"),
        ({"duplicates": 3}, "3 training examples repeat another"),
        ({"measured_on": "validation"}, "the test set was not read"),
        ({"student_labelled": 50}, "The training set has 100 labels that students do not see"),
    ],
)
def test_notes_on_the_data(record: dict[str, Any], changes: dict[str, Any], note: str):
    assert note not in report_markdown(record)
    record["data"].update(changes)
    assert note in report_markdown(record)


def test_notes_on_the_settings(record: dict[str, Any]):
    assert report_markdown(record).count("## Notes\n\nNone.") == 1
    record["recipe"]["fit"]["augment"]["shift"] = 2
    assert "the teacher's labels are those of the plain images" in report_markdown(record)
    record["recipe"]["distill"]["views"] = "live"
    assert "about the very view that the student saw" in report_markdown(record)


def test_how_to_do_it_again(record: dict[str, Any]):
    record["recipe"]["out"] = "runs/my first"
    record["environment"].update(commit=None, dirty=None)
    text = report_markdown(record)
    assert "    limbeck distill 'runs/my first/recipe.resolved.yaml' --set out=runs/again" in text
    assert "(installed package)" in text
    record["recipe"]["teacher"]["kind"] = "python"
    record["environment"].update(commit="0123456789abcdef", dirty=True)
    text = report_markdown(record)
    assert "    limbeck.distill(...)" in text
    assert "recipe.resolved.yaml" not in text
    assert "(0123456789ab, changed)" in text


@pytest.mark.parametrize(
    ("objective", "formula"),
    [
        (
            {"name": "soft-targets", "temperature": 2.5, "divergence": "reverse-kl"},
            "2.5² KL(student at T 2.5 ‖ teacher",
        ),
        ({"name": "hard-targets"}, "CE(teacher's first choice)"),
        ({"name": "cross-entropy", "smoothing": 0.1}, "CE(labels smoothed by 0.1)"),
        ({"name": "mine", "a": 1, "b": 2}, "mine(a 1, b 2)"),
    ],
)
def test_equations(record: dict[str, Any], objective: dict[str, Any], formula: str):
    record["arms"]["distilled"][0]["loss"] = [{"name": "x", "weight": 0.25, "objective": objective}]
    assert f"`loss = 0.25 · {formula}" in report_markdown(record)
