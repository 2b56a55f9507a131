"""The Python door to a search."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import limbeck
from limbeck import SearchResult, Tune
from limbeck.errors import DataError, Interrupted, RecipeError
from limbeck.report import peek, record_of, write_report
from limbeck.training import AdamW, Fit
from limbeck.tuning.tune import TUNE
from running import Interrupting, SquaredLogits, arguments, tell

FIT = Fit(epochs=3, batch_size=32, optimizer=AdamW(lr=0.02), threads=1)

pytestmark = pytest.mark.usefixtures("unsynced")


def look_for(out: Path, **changes: Any) -> SearchResult:
    """`limbeck.tune` on rows, in a second."""
    return limbeck.tune(**{"search": Tune(trials=4), **arguments(out, fit=FIT), **changes})


def test_a_search_in_one_call(tmp_path: Path):
    result = look_for(tmp_path / "run")
    assert result.directory == tmp_path / "run" / TUNE
    assert set(result.best) == {"temperature", "alpha"}
    assert len(result.landscape["trials"]) == 4
    assert result.verdict.against == "own"
    assert result.recipe.distill.alpha == result.best["alpha"]
    student = result.proof.student
    assert student(torch.zeros(2, 6)).shape == (2, 3)
    assert (result.directory / "report.html").exists()
    assert "best setting: temperature" in str(result)


def test_the_best_setting_distils_to_the_same_student(tmp_path: Path):
    result = look_for(tmp_path / "run")
    again = tell(
        tmp_path / "again",
        **result.best,
        fit=FIT,
        validation=result.recipe.data.validation,
    )
    assert torch.equal(again.student.weight, result.proof.student.weight)


def test_a_search_that_is_over_is_read_again(tmp_path: Path):
    first = look_for(tmp_path / "run")
    assert look_for(tmp_path / "run", resume=True).record == first.record
    with pytest.raises(RecipeError, match="holds a search"):
        look_for(tmp_path / "run")


def test_trials_and_proofs_can_be_looked_at(tmp_path: Path):
    result = look_for(tmp_path / "run")
    look = peek(tmp_path / "run", 3)
    parts = [path for kind in ("trials", "proof") for path in (result.directory / kind).iterdir() if path.is_dir()]
    assert {path.name for path in parts} >= {"0000", "0003"}
    for part in parts:
        assert peek(part, 3) == look
        if part.parent.name == "proof":
            write_report(part, record_of(part))
            assert "| distilled |" in (part / "report.md").read_text()
        else:
            with pytest.raises(DataError, match="has no report of its own"):
                record_of(part)


def test_an_interrupted_call_says_how_to_go_on(tmp_path: Path):
    with pytest.raises(Interrupted, match="resume=True"):
        look_for(tmp_path / "run", watch=Interrupting(at=2))
    assert look_for(tmp_path / "run", resume=True).record["search"]["trials"] == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"search": {"trials": 4}}, "search is {'trials': 4}"),
        ({"search": Tune(trials=4, jobs=2)}, "tune.jobs is 2"),
        ({"search": Tune(prune="no")}, "prune is 'no'"),  # type: ignore[arg-type]
        ({"generations": 2}, "generations"),
        ({"out": "a\0b"}, "out is 'a"),
        ({"objective": SquaredLogits()}, "squared-logits"),
    ],
)
def test_misuse_is_refused_in_words(tmp_path: Path, changes: dict[str, Any], words: str):
    with pytest.raises(RecipeError) as caught:
        look_for(**{"out": tmp_path / "run", **changes})
    assert words in caught.value.came


def test_whoever_only_distils_does_not_wait_for_what_a_search_needs():
    code = "import sys, limbeck; limbeck.distill; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.splitlines())
    assert "limbeck.distillation" in modules
    assert not {"optuna", "sqlalchemy", "matplotlib", "limbeck.tuning"} & modules


def test_an_argument_that_distill_does_not_have_is_a_type_error(tmp_path: Path):
    with pytest.raises(TypeError, match="trials"):
        look_for(tmp_path / "run", trials=4)


@pytest.mark.parametrize("changes", [{"temperature": 0.0}, {"alpha": (0.2, 0.1)}, {"trials": 0}, {"storage": "a b"}])
def test_a_search_that_cannot_be_is_refused_when_it_is_made(changes: dict[str, Any]):
    with pytest.raises(ValueError, match=next(iter(changes))):
        Tune(**changes)
