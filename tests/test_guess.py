"""The first guess at temperature and alpha, and the runs that begin with it."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import UNLABELLED
from limbeck.errors import DataError, Interrupted, RecipeError
from limbeck.files import read_json, write_json
from limbeck.guess import MOST, guess, guess_of, settled
from limbeck.objectives import DKD, SoftTargets
from limbeck.preparation import Materials, prepare
from limbeck.recipe import recipe_from_tree
from limbeck.recipe_text import read_yaml
from limbeck.report import report_markdown
from limbeck.rundir import ORIGIN
from limbeck.teachers import Encoding, Labels, Stored, doubts, halves
from limbeck.training import Distill, Linear
from running import TRAIN, Interrupting, run_tree, students, tell, tree

AUTO = {"temperature": "auto", "alpha": "auto"}


def noise(count: int = 200, classes: int = 5, spread: float = 4.0, seed: int = 0) -> torch.Tensor:
    return spread * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


# --- the numbers -----------------------------------------------------------------------------------------------------


def test_the_temperature_of_one_gap_by_hand():
    """Of two classes with the gap g the doubts are 2 / (1 + exp(g / T)), so a third at T = g / ln 5."""
    logits = torch.tensor([[6.0, 0.0], [0.0, 6.0]]).repeat(20, 1)
    found = guess(logits, torch.tensor([0, 1]).repeat(20))
    assert found.temperature == float(f"{6 / math.log(5):.3g}")
    assert found.rule == "doubts"
    assert found.doubts == pytest.approx(2 / (1 + math.exp(6)))
    assert (found.alpha, found.contradicted, found.labelled, found.examples) == (0.0, 0.0, 1.0, 40)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 20), st.floats(0.5, 20.0), st.floats(0.1, 10.0), st.integers(0, 99))
def test_the_temperature_scales_with_the_logits_and_alpha_does_not(classes, spread, factor, seed):
    logits = noise(50, classes, spread, seed)
    labels = noise(50, classes, seed=seed + 1).argmax(dim=1)
    found, scaled = guess(logits, labels), guess(factor * logits + 3.0, labels)
    assert (scaled.alpha, scaled.contradicted) == (found.alpha, found.contradicted)
    if found.rule == scaled.rule == "doubts":
        assert scaled.temperature == pytest.approx(factor * found.temperature, rel=0.01)
        assert doubts(logits, found.temperature) == pytest.approx(1 / 3, abs=0.01)


def test_a_surer_teacher_is_softened_more():
    labels = noise().argmax(dim=1)
    found = [guess(noise() + sureness * torch.eye(5)[labels], labels).temperature for sureness in (0.0, 4.0, 16.0)]
    assert found[0] < found[1] < found[2]


def test_one_that_is_mostly_wrong_is_softened_until_it_admits_that():
    """A teacher sure of answers that are right on a quarter of the examples, of eight classes."""
    first = torch.arange(4000) % 8
    labels = torch.where(torch.arange(4000) // 8 % 4 == 0, first, (first + 1 + torch.arange(4000) // 32 % 7) % 8)
    found = guess(10.0 * torch.eye(8)[first], labels)
    fitted, _ = halves(4000)
    share = float((first == labels)[fitted].double().mean())
    # The seven others are named alike: probabilities fit where the first has its share, p / (1 - p) = exp(10 / T) / 7.
    assert found.rule == "calibration"
    assert found.temperature == pytest.approx(10 / math.log(7 * share / (1 - share)), rel=0.01)
    assert found.contradicted == pytest.approx(0.75)


def test_alpha_is_the_share_of_examples_whose_label_is_contradicted():
    logits = 5 * torch.eye(4).repeat(25, 1)
    labels = torch.arange(4).repeat(25)
    labels[:8] = (labels[:8] + 1) % 4
    assert guess(logits, labels).alpha == 0.08
    labels[40:] = UNLABELLED
    found = guess(logits, labels)
    assert (found.alpha, found.labelled, found.contradicted) == (0.08, 0.4, 0.2)


def test_alpha_is_no_more_than_the_usual_however_often_the_teacher_contradicts():
    found = guess(5 * torch.eye(4).repeat(25, 1), (torch.arange(4).repeat(25) + 1) % 4)
    assert (found.alpha, found.contradicted) == (0.1, 1.0)


def test_without_labels_the_doubts_alone_decide():
    found = guess(noise(), torch.full((200,), UNLABELLED))
    assert (found.alpha, found.labelled, found.contradicted, found.calibration) == (0.0, 0.0, None, None)
    assert found.rule == "doubts"


def test_of_even_answers_the_usual_temperature_is_as_good_as_any():
    found = guess(torch.zeros(40, 4), torch.arange(4).repeat(10))
    assert (found.temperature, found.rule) == (4.0, "usual")


def test_three_digits_are_enough():
    found = guess(noise(300), noise(300, seed=1).argmax(dim=1))
    for value in (found.temperature, found.alpha):
        assert value == float(f"{value:.3g}")


# --- of a run --------------------------------------------------------------------------------------------------------


@pytest.fixture
def data(npz: Path):
    return prepare(recipe_from_tree(tree(npz, "X"), {}, where="here"), Materials())


def test_the_signals_of_a_run_are_read_row_by_row(data):
    logits = noise(TRAIN, 3)
    assert guess_of(Stored({"logits": logits}), data) == guess(logits, data.train.labels)


def test_of_several_views_the_first_is_looked_at(data):
    logits = noise(TRAIN, 3)
    views = torch.stack([logits, noise(TRAIN, 3, seed=5)], dim=1).flatten(0, 1)
    assert guess_of(Stored({"logits": views}, views=2), data) == guess(logits, data.train.labels)


def test_a_large_set_is_looked_at_here_and_there(data):
    rows = torch.arange(40 * TRAIN) % TRAIN
    many = data.train.select(rows)
    found = guess_of(Stored({"logits": noise(TRAIN, 3)[rows]}), prepared_with(data, many))
    assert found.examples == MOST < len(many)


def prepared_with(data, train):
    return type(data)(data.given_train, data.teacher_train, train, data.measured, data.preprocess)


def test_contradictions_are_seen_through_the_largest_logits(data):
    logits = noise(TRAIN, 3)
    encoding = Encoding(Labels(encoding="top-k", k=1), (1.0, 4.0))
    top = Stored(encoding.encode(logits), encoding, 3)
    assert guess_of(top, data).alpha == guess(logits, data.train.labels).alpha


def test_what_was_given_stays(npz: Path):
    found = guess(noise(), noise(seed=1).argmax(dim=1))
    schedule = {"name": "linear", "start": 8.0, "end": 2.0}
    mixed = recipe_from_tree(tree(npz, "X", distill={"alpha": "auto", "temperature": schedule}), {}, where="here")
    assert settled(mixed, found).distill == Distill(alpha=found.alpha, temperature=Linear(start=8.0, end=2.0))
    hot = recipe_from_tree(tree(npz, "X", distill={"alpha": 0.3, "distillation_temp": "auto"}), {}, where="here")
    assert hot.distill.temperature == "auto"
    own = SoftTargets(temperature=found.temperature)
    assert settled(hot, found).distill == Distill(alpha=0.3, objective=own)
    numbers = recipe_from_tree(tree(npz, "X"), {}, where="here")
    assert settled(numbers, found) == numbers


@pytest.fixture(scope="module")
def guessed(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The directory and the record of a run that begins with a guess."""
    out = tmp_path_factory.mktemp("guessed") / "run"
    return out, run_tree(tree(npz, out, distill=AUTO))


def test_a_run_goes_on_with_the_guess_and_says_so(guessed: tuple[Path, dict[str, Any]]):
    out, record = guessed
    found = record["teacher"]["guess"]
    assert found["settles"] == ["temperature", "alpha"]
    assert found["examples"] == TRAIN
    loss = {term["name"]: term for term in record["arms"]["distilled"][0]["loss"]}
    assert loss["distillation_loss"]["objective"]["temperature"] == found["temperature"] != 4.0
    assert loss["student_loss"]["weight"] == found["alpha"] == record["recipe"]["distill"]["alpha"]
    assert record["recipe"]["distill"]["objective"]["temperature"] == found["temperature"]
    assert record["recipe"]["distill"]["temperature"] is None
    distill = read_yaml(out / "recipe.resolved.yaml")["distill"]
    assert (distill["alpha"], distill["temperature"]) == ("auto", "auto")
    text = report_markdown(record)
    assert f"temperature {found['temperature']:g}, where its doubts are a third" in text
    assert f"alpha {found['alpha']:g}, the share of examples whose label the teacher contradicts, 0.1 at most" in text


def test_it_is_the_run_with_these_numbers(npz: Path, tmp_path: Path, guessed: tuple[Path, dict[str, Any]]):
    found = guessed[1]["teacher"]["guess"]
    numbers = {"temperature": found["temperature"], "alpha": found["alpha"]}
    record = run_tree(tree(npz, tmp_path, distill=numbers))
    assert students(record) == students(guessed[1])
    assert "first guess" not in report_markdown(record)


def test_a_run_that_stopped_goes_on_with_its_guess(npz: Path, tmp_path: Path, guessed: tuple[Path, dict[str, Any]]):
    values, stops = tree(npz, tmp_path, distill=AUTO), 0
    while not (tmp_path / "record.json").exists():
        try:
            run_tree(values, resume=stops > 0, watch=Interrupting(9))
        except Interrupted:
            stops += 1
    assert stops > 2
    record = run_tree({**values, "proof": {"seeds": [0, 1, 2]}}, resume=True)
    assert record["teacher"]["guess"] == guessed[1]["teacher"]["guess"]
    assert students(record).items() > students(guessed[1]).items()


def test_students_of_another_guess_are_not_mixed_in(npz: Path, tmp_path: Path):
    values = tree(npz, tmp_path, distill=AUTO, proof={"seeds": [0]})
    run_tree(values)
    write_json(tmp_path / ORIGIN, {**read_json(tmp_path / ORIGIN), "guess": "alpha 1"})
    with pytest.raises(DataError, match="another guess"):
        run_tree(values, resume=True)


@pytest.mark.parametrize("views", ["live", 2])
def test_views_and_a_chain_go_with_it(npz: Path, tmp_path: Path, views: Any):
    values = tree(npz, tmp_path, distill={**AUTO, "views": views}, proof={"seeds": [0], "arms": ["distilled"]})
    values["student"] = {**values["student"], "generations": 2}
    values["fit"] = {**values["fit"], "augment": {"shift": 1}}
    record = run_tree(values)
    found = record["teacher"]["guess"]
    assert 0 < found["temperature"] != 4.0
    loss = {term["name"]: term for term in record["arms"]["distilled"][0]["loss"]}
    assert loss["distillation_loss"]["objective"]["temperature"] == found["temperature"]


def test_in_python(tmp_path: Path):
    result = tell(tmp_path, alpha="auto", temperature="auto")
    found = result.record["teacher"]["guess"]
    assert result.record["recipe"]["distill"]["alpha"] == found["alpha"]
    assert found["contradicted"] < 0.2


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distill": {"temperature": "auto", "objective": {"name": "ttm"}}}, "ttm has none"),
        ({"distill": {"temperature": "auto", "objective": {"name": "dkd", "temperature": 2}}}, "give it once"),
        ({"distill": {"temperature": "auto", "objective": {"name": "dkd", "standardise": True}}}, "standardises"),
        ({"distill": {"temperature": "auto", "distillation_temp": "auto"}}, "temperature"),
        ({"distill": {"temperature": "automatic"}}, "temperature is 'automatic'"),
        ({"distill": {"alpha": "automatic"}}, "distill.alpha is 'automatic'"),
        ({"distill": {"alpha": "auto", "student_weight": 1, "distillation_weight": 1}}, "not both forms"),
        ({"distill": {"student_weight": "auto", "distillation_weight": 1}}, "distill.student_weight is 'auto'"),
        ({"distill": {"temperature": "auto"}, "labels": {"encoding": "top-k", "k": 2}}, "distill.temperature is auto"),
    ],
)
def test_what_cannot_be_guessed_is_refused(npz: Path, changes: dict[str, Any], words: str):
    with pytest.raises(RecipeError) as caught:
        recipe_from_tree(tree(npz, "X", **changes), {}, where="here")
    assert words in caught.value.came


def test_words_that_no_loss_knows_are_refused_in_python():
    for settings_of_loss in ({"alpha": "high"}, {"temperature": "hot"}):
        with pytest.raises(ValueError, match="a schedule or auto"):
            Distill(**settings_of_loss)


@pytest.mark.parametrize("distill", [Distill(alpha="auto"), Distill(temperature="auto", objective=DKD())])
def test_nothing_is_trained_with_a_number_that_is_not_known(distill: Distill):
    assert distill.unsettled
    with pytest.raises(ValueError, match="is auto"):
        distill.loss()
    assert not distill.tentative.unsettled
    assert [term.weight for term in distill.tentative.loss()] == [0.1, 0.9]
    assert not distill.settled(alpha=0.5, temperature=2.0).unsettled
