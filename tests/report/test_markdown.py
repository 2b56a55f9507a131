import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from limbeck.measurement import Verdict
from limbeck.objectives import DKD, TTM, Feature, Hint, Objective, SoftTargets
from limbeck.report import closing_sentence, report_markdown
from limbeck.report.parts import arms_table
from limbeck.training import Distill, HalfCosine, Linear, Term
from running import module_teacher, tell, true_logits


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


def test_a_chain_that_adds_nothing_is_not_taken_for_one_that_does():
    first = verdict("BEATS")
    ends = {
        "BEATS": "and the assistants taught more than the teacher by itself.",
        "NO DIFFERENCE SHOWN": "but the teacher by itself, without assistants, was not shown to teach less.",
        "WORSE": "but the teacher by itself, without assistants, taught more.",
    }
    for word, end in ends.items():
        record = {"verdict": first, "verdicts": [first, verdict(word, against="direct")]}
        assert closing_sentence(record).endswith(f"n = 9), {end}")
    others = [verdict("BEATS", against="hard-teacher"), verdict("WORSE", against="direct")]
    sentence = closing_sentence({"verdict": first, "verdicts": [first, *others]})
    assert sentence.endswith("than its answers alone, but the teacher by itself, without assistants, taught more.")
    aside = verdict("BEATS", arm="direct", against="hard-teacher")  # of another arm: no control of this one
    assert closing_sentence({"verdict": first, "verdicts": [first, aside]}).endswith("n = 9).")


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


def changing(**schedule: Any) -> dict[str, Any]:
    """A term of which something changes, as a record has it."""
    objective = {"name": "soft-targets", "standardise": False, "temperature": 8.0, "divergence": "forward-kl"}
    return {
        "name": "x",
        "weight": 0.25,
        "objective": objective,
        "schedule": {"weight": None, "temperature": None, **schedule},
    }


@pytest.mark.parametrize(
    ("term", "formula"),
    [
        (changing(), "0.25 · 8² KL(teacher at T 8 ‖ student at T 8)"),
        (
            changing(weight={"name": "linear", "start": 0.9, "end": 0.1}),
            "[0.9 -> 0.1 (linear)] · 8² KL(teacher at T 8 ‖ student at T 8)",
        ),
        (
            changing(temperature={"name": "cosine", "start": 8.0, "end": 1.0}),
            "0.25 · T² KL(teacher at T ‖ student at T), T 8 -> 1 (cosine)",
        ),
        (
            changing(weight={"name": "points", "points": [[0.0, 1.0], [0.5, 0.25], [1.0, 0.0]]}),
            "[1 -> 0.25 -> 0 (points)] · 8² KL",
        ),
    ],
)
def test_what_changes_over_a_fit_is_said(record: dict[str, Any], term: dict[str, Any], formula: str):
    record["arms"]["distilled"][0]["loss"] = [term]
    assert f"`loss = {formula}" in report_markdown(record)


@pytest.mark.parametrize(
    ("objective", "formula"),
    [
        (Hint(student="conv1", teacher="layer2.0"), "hint(student conv1, teacher layer2.0)"),
        (Feature(student="a", teacher="b", distance="cosine"), "feature(student a, teacher b, distance cosine)"),
        (DKD(standardise=True), "dkd(standardise, temperature 4, target_weight 1, non_target_weight 8)"),
        (TTM(), "ttm(exponent 0.1)"),
        (SoftTargets(standardise=True), "soft-targets(standardise, temperature 4, divergence forward-kl)"),
        (SoftTargets(divergence="jsd"), "soft-targets(temperature 4, divergence jsd, beta 0.5)"),
        (SoftTargets(divergence="reverse-kl"), "4² KL(student at T 4 ‖ teacher at T 4)"),
    ],
)
def test_every_objective_has_a_formula(record: dict[str, Any], objective: Objective, formula: str):
    record["arms"]["distilled"][0]["loss"] = [asdict(Term("x", 0.5, objective))]
    assert f"`loss = 0.5 · {formula}`" in report_markdown(record)


def test_an_ensemble_tells_of_its_members(record: dict[str, Any]):
    assert "member" not in report_markdown(record)
    found = [{"train_accuracy": 0.971, "asked": 1000}, {"train_accuracy": None, "asked": 1000}]
    identity = {"kind": "ensemble", "weights": [0.75, 0.25], "mean": "probabilities"}
    record["teacher"].update(members=found, identity=identity)
    text = report_markdown(record)
    assert "The mean of the probabilities of 2 members:\n\n- weight 0.75, 97.1 % on 1,000 training examples\n" in text
    assert "- weight 0.25, – on 1,000 training examples\n" in text


def test_the_assistants_are_told_of(record: dict[str, Any]):
    assert "Assistants" not in report_markdown(record)
    student = record["recipe"]["student"]
    student["assistants"], student["generations"] = [{"name": "convnet", "channels": [4, 8]}], 3
    record["assistants"] = [{"parameters": 1234, "accuracy": accuracy, "nll": 0.5} for accuracy in (0.9, 0.8, None)]
    text = report_markdown(record)
    assert "## Assistants" in text
    assert "| 1 | `convnet(channels [4, 8])` | 1,234 | 90.00 | 0.500 |" in text
    assert "| 2 | `mlp(hidden [8], dropout 0)`, generation 1 of 3 | 1,234 | 80.00 | 0.500 |" in text
    assert "| 3 | `mlp(hidden [8], dropout 0)`, generation 2 of 3 | 1,234 | – | 0.500 |" in text
    student["model"] = {"name": "python", "what": "<lambda>"}
    assert "| 2 | `<lambda>`, generation 1 of 3 |" in report_markdown(record)


def test_a_record_from_before_there_were_assistants(record: dict[str, Any]):
    now = report_markdown(record)
    del record["assistants"], record["recipe"]["student"]["assistants"], record["recipe"]["student"]["generations"]
    for fits in record["arms"].values():
        for fit in fits:
            for term in fit["loss"]:
                del term["schedule"]
    assert report_markdown(record) == now


def test_the_arm_direct_is_told_apart(record: dict[str, Any]):
    record["arms"]["direct"] = copy.deepcopy(record["arms"]["distilled"])
    lines = [line for line in report_markdown(record).splitlines() if "the signals are the teacher's own" in line]
    assert len(lines) == 1
    assert lines[0].startswith("- **direct**: ")


def test_a_run_with_all_of_it(tmp_path: Path):
    loss = Distill(alpha=Linear(start=0.9, end=0.1), temperature=HalfCosine(start=8.0, end=2.0))
    result = tell(
        tmp_path,
        teacher=[true_logits, module_teacher()],
        generations=2,
        arms=["distilled", "direct"],
        distillation=loss,
    )
    text = (tmp_path / "report.md").read_text()
    assert text == report_markdown(result.record)
    for part in ("of 2 members", "generation 1 of 2", "[0.9 -> 0.1 (linear)]", "T 8 -> 2 (cosine)", "- **direct**"):
        assert part in text
    assert "<td>" in (tmp_path / "report.html").read_text().split("Assistants")[1]


def test_what_the_preflight_saw_in_the_logits_is_said_in_a_line(record: dict[str, Any]):
    record["teacher"] |= {"temperatures": [1.52, 6.04], "remarks": ["it never names 7"]}
    text = report_markdown(record)
    assert "heard at temperatures from 1.5 to 6, as a rule of thumb" in text
    assert "**Odd:** it never names 7." in text
    for key in ("temperatures", "remarks"):  # as in a record of before the preflight looked
        del record["teacher"][key]
    assert "rule of thumb" not in report_markdown(record)
