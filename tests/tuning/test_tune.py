"""A whole search: the teacher asked once, trials, the choice, the proof."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from searching import landscape_in, search_tree, tune_function, tune_tree
from torch import Tensor

from limbeck.errors import DataError, Interrupted, RecipeError
from limbeck.files import read_tensors
from limbeck.measurement import compare
from limbeck.pipeline import Options, ask_teacher, run
from limbeck.preparation import Materials, prepare
from limbeck.recipe import read_recipe, recipe_from_tree
from limbeck.record import read_record
from limbeck.tuning.begin import at_work, holding_out
from running import CLASSES, TEST, Heard, Interrupting, save_npz, true_logits

pytestmark = pytest.mark.usefixtures("unsynced")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, npz: Path) -> Path:
    """The directory of a run whose search is done; tests only read it."""
    out = tmp_path_factory.mktemp("runs") / "searched"
    tune_tree(search_tree(npz, out))
    return out


def weights(directory: Path) -> dict[str, Tensor]:
    return read_tensors(directory / "student" / "model.safetensors")


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- what it leaves --------------------------------------------------------------------------------------------------


def test_trials_are_numbered_and_the_first_hears_no_teacher(searched: Path):
    trials = landscape_in(searched)["trials"]
    assert [trial["number"] for trial in trials] == list(range(6))
    assert (trials[0]["origin"], trials[0]["setting"], trials[0]["state"]) == ("no teacher", {}, "complete")
    assert (trials[1]["origin"], trials[1]["setting"]) == ("own", {"temperature": 4.0, "alpha": 0.1})
    assert (searched / "tune/trials/0000/arms/scratch").exists()
    assert (searched / "tune/trials/0001/arms/distilled").exists()


def test_a_trial_is_worth_its_student_on_validation(searched: Path, npz: Path):
    tree = search_tree(npz, searched)
    data = prepare(recipe_from_tree(tree, {}, where="the test"), Materials())
    held = data.validation
    assert held is not None
    complete = [trial for trial in landscape_in(searched)["trials"] if trial["state"] == "complete"]
    assert complete
    for trial in complete:
        (place,) = (searched / "tune/trials" / f"{trial['number']:04d}" / "arms").glob("*/seed-*")
        right = read_tensors(place / "predictions.safetensors")["logits"].argmax(dim=1) == held.labels
        assert trial["value"] == pytest.approx(right.double().mean().item())
        assert not (place / "checkpoints").exists()


def test_students_of_trials_have_no_seed_of_the_proof(searched: Path):
    places = searched.glob("tune/trials/*/arms/*/seed-*/")
    assert {place.name for place in places} == {"seed-1000"}
    assert {place.name for place in searched.glob("tune/proof/*/arms/*/*/")} == {"seed-0", "seed-1"}


def test_the_best_recipe_is_distilled_as_it_is_to_the_same_students(searched: Path):
    recipe = read_recipe(searched / "tune/best.yaml")
    best = read_record(searched / "tune")["best"]
    assert recipe.distill.alpha == best["setting"]["alpha"]
    record = run(recipe, Materials(), Options())
    for seed in (0, 1):
        proof = searched / f"tune/proof/{best['number']:04d}/arms/distilled/seed-{seed}"
        assert same(weights(proof), weights(Path(recipe.out) / f"arms/distilled/seed-{seed}"))
    tuned = read_record(searched / "tune")["arms"]["tuned"]
    assert [fit["accuracy"] for fit in record["arms"]["distilled"]] == [fit["accuracy"] for fit in tuned]


def test_the_verdict_is_that_of_fresh_seeds_on_test(tmp_path: Path, npz: Path):
    # An own setting that hears nothing of the teacher and has few labels, so that another one is chosen.
    changes = {"data.labelled": 6, "distill.alpha": 1.0}
    record = tune_tree(search_tree(npz, tmp_path / "run"), changes)
    assert record["best"]["number"] != 1
    data = prepare(recipe_from_tree(search_tree(npz, tmp_path / "run"), changes, where="the test"), Materials())
    rights = {}
    for name, place in {"tuned": f"{record['best']['number']:04d}", "own": "own"}.items():
        logits = [
            read_tensors(tmp_path / f"run/tune/proof/{place}/arms/distilled/seed-{seed}/predictions.safetensors")
            for seed in (0, 1)
        ]
        rights[name] = torch.stack([each["logits"].argmax(dim=1) == data.measured.labels for each in logits])
    expected = compare(rights["tuned"], rights["own"], arm="tuned", against="own", seeds=(0, 1))
    assert record["verdict"]["difference"] == pytest.approx(expected.difference)
    assert record["verdict"]["interval"] == pytest.approx(list(expected.interval or ()))
    assert record["verdict"]["examples"] == TEST
    assert [(one["arm"], one["against"]) for one in record["verdicts"]] == [
        ("tuned", "own"), ("tuned", "scratch"), ("own", "scratch"),
    ]  # fmt: skip


def test_an_own_setting_that_is_the_best_is_trained_once(tmp_path: Path, npz: Path):
    tree = search_tree(npz, tmp_path / "run", tune={"trials": 2, "jobs": 1})
    record = tune_tree(tree)
    assert record["best"]["number"] == 1
    assert record["verdict"]["word"] == "NOT COMPARED"
    assert "own" not in record["arms"]
    assert not (tmp_path / "run/tune/proof/own").exists()


def test_the_teacher_is_asked_once_about_each_example(tmp_path: Path):
    asked = []

    def teacher(inputs: Tensor) -> Tensor:
        asked.append(len(inputs))
        return true_logits(inputs)

    tune_function(tmp_path / "few", teacher, {"tune.trials": 2})
    few = sum(asked)
    asked.clear()
    tune_function(tmp_path / "many", teacher, {"tune.trials": 9})
    # All that is asked beyond the few trials' is about the test set, for the proof of a second setting.
    assert sum(asked) - few in (0, TEST)


def test_a_sequential_search_is_the_same_bit_for_bit(searched: Path, tmp_path: Path, npz: Path):
    tune_tree(search_tree(npz, tmp_path / "again"))
    one, other = landscape_in(searched), landscape_in(tmp_path / "again")
    assert one == other
    for place in (searched / "tune").glob("**/seed-*"):
        if (place / "student").exists() and "best" not in place.parts:
            assert same(weights(place), weights(tmp_path / "again" / place.relative_to(searched)))


def test_what_is_held_out_is_a_fifth_of_the_labelled_examples(npz: Path, tmp_path: Path):
    tree = search_tree(npz, tmp_path / "run", data={"source": "npz", "path": str(npz)})
    recipe = recipe_from_tree(tree, {}, where="the test")
    splits = recipe.data.source.load()  # type: ignore[union-attr]
    assert holding_out(recipe, splits).data.validation == 30
    named = recipe_from_tree(tree, {"data.validation": 7}, where="the test")
    assert holding_out(named, splits) == named


def test_progress_tells_the_best_so_far_and_what_is_left(tmp_path: Path, npz: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("limbeck.tuning.work.PAUSE", 0.0)
    heard = Heard()
    record = tune_tree(search_tree(npz, tmp_path / "run"), watch=heard)
    told = [progress for progress in heard if progress.stage == "tune"]
    assert [progress.done for progress in told] == sorted(progress.done for progress in told)
    assert {progress.total for progress in told} == {6}
    last = told[-1].facts
    assert last["pruned"] == record["search"]["pruned"]
    assert last["running"] == 0
    trials = landscape_in(tmp_path / "run")["trials"]
    assert last["best"] == max(trial["value"] for trial in trials if trial["state"] == "complete")
    assert any(progress.facts.get("running") == 1 and progress.facts.get("left_seconds", 0) > 0 for progress in told)


# --- other spaces ----------------------------------------------------------------------------------------------------


def test_objectives_rates_and_sizes_are_searched_on_request(tmp_path: Path, npz: Path):
    search = {
        "trials": 9, "jobs": 1, "lr": [0.003, 0.03],
        "objective": ["soft-targets", {"name": "dkd", "non_target_weight": [1, 8]}],
        "student": [{"name": "mlp", "hidden": [4]}, {"name": "mlp", "hidden": [8]}],
    }  # fmt: skip
    record = tune_tree(search_tree(npz, tmp_path / "run", tune=search))
    found = landscape_in(tmp_path / "run")
    settings = [trial["setting"] for trial in found["trials"][1:]]
    assert all({"alpha", "lr", "objective", "student"} <= set(setting) for setting in settings)
    recipe = read_recipe(tmp_path / "run/tune/best.yaml")
    setting = record["best"]["setting"]
    assert recipe.fit.optimizer.lr == setting["lr"]
    assert recipe.distill.objective.name == setting["objective"]
    students = json.loads((tmp_path / "run/tune/landscape.json").read_bytes())["students"]
    assert all(isinstance(size["parameters"], int) for size in students.values())
    assert {size["parameters"] for size in students.values()} == {64 * 4 + 4 + 4 * 3 + 3, 64 * 8 + 8 + 8 * 3 + 3}


def test_a_student_beyond_the_limit_is_never_trained(tmp_path: Path, npz: Path):
    search = {
        "trials": 5, "jobs": 1, "most_parameters": 300,
        "student": [{"name": "mlp", "hidden": [4]}, {"name": "mlp", "hidden": [512]}],
    }  # fmt: skip
    tune_tree(search_tree(npz, tmp_path / "run", tune=search))
    trials = landscape_in(tmp_path / "run")["trials"]
    assert {trial["student"] for trial in trials[1:]} == {"mlp(hidden 4)"}
    with pytest.raises(RecipeError, match="no student is within"):
        tune_tree(search_tree(npz, tmp_path / "none", tune={**search, "most_parameters": 10}))
    with pytest.raises(RecipeError, match="one student is within"):
        tune_tree(search_tree(npz, tmp_path / "one", tune={**search, "temperature": None, "alpha": None}))


def test_the_recipes_own_student_is_held_against_itself(tmp_path: Path, npz: Path):
    search = {"trials": 4, "jobs": 1, "student": [{"name": "mlp", "hidden": [4]}, {"name": "mlp", "hidden": [12]}]}
    record = tune_tree(search_tree(npz, tmp_path / "run", tune=search))
    assert {one["against"] for one in record["verdicts"] if one["arm"] == "own"} == {"own-scratch"}
    sizes = {arm: fits[0]["parameters"] for arm, fits in record["arms"].items()}
    assert sizes["own"] == sizes["own-scratch"] == 64 * 8 + 8 + 8 * 3 + 3
    assert sizes["tuned"] == sizes["scratch"] != sizes["own"]


def test_every_student_has_a_whole_trial_of_its_own(tmp_path: Path, npz: Path):
    models = [{"name": "mlp", "hidden": [size]} for size in (1, 2, 16)]
    tune_tree(search_tree(npz, tmp_path / "run", tune={"trials": 24, "jobs": 1, "student": models}))
    trials = landscape_in(tmp_path / "run")["trials"][1:]
    tried = {trial["student"] for trial in trials}
    assert len(tried) == 3
    assert {trial["student"] for trial in trials if trial["state"] == "complete"} == tried


def test_a_student_with_tapped_parts_is_measured_on_the_way(tmp_path: Path, npz: Path, capfd: Any):
    changes = {
        "teacher.model": {"name": "convnet", "channels": [4, 8]}, "teacher.fit.epochs": 40,
        "student.model": {"name": "convnet", "channels": [2, 4]},
        "distill.terms": [{"weight": 1.0, "objective": {"name": "hint", "student": "conv1", "teacher": "conv1"}}],
        "tune.trials": 3,
    }  # fmt: skip
    tune_tree(search_tree(npz, tmp_path / "run"), changes)
    assert "Traceback" not in capfd.readouterr().err
    assert all(trial["curve"] for trial in landscape_in(tmp_path / "run")["trials"])


def test_a_setting_that_diverges_is_told_and_never_the_best(tmp_path: Path, npz: Path):
    search = {"trials": 8, "jobs": 1, "lr": [1e-3, 1e30], "alpha": None, "temperature": None}
    record = tune_tree(search_tree(npz, tmp_path / "run", tune=search))
    failed = [trial for trial in landscape_in(tmp_path / "run")["trials"] if trial["state"] == "failed"]
    assert failed
    assert all(trial["value"] is None and "diverged" in trial["reason"] for trial in failed)
    assert record["search"]["failed"] == len(failed)
    assert record["best"]["number"] not in [trial["number"] for trial in failed]


def test_several_students_a_trial_have_their_mean(tmp_path: Path, npz: Path):
    search = {"trials": 2, "jobs": 1, "seeds": 2}
    tune_tree(search_tree(npz, tmp_path / "run", tune=search))
    assert {place.name for place in (tmp_path / "run").glob("tune/trials/*/arms/*/*/")} == {"seed-1000", "seed-1001"}


# --- what it refuses -------------------------------------------------------------------------------------------------


def test_a_search_that_is_there_needs_a_word(searched: Path, npz: Path):
    with pytest.raises(RecipeError, match="holds a search") as told:
        tune_tree(search_tree(npz, searched))
    assert "--resume" in told.value.do
    assert "--overwrite" in told.value.do


def test_a_search_that_is_over_is_read_again(searched: Path, npz: Path):
    assert tune_tree(search_tree(npz, searched), resume=True) == read_record(searched / "tune")


def test_a_concluded_search_is_not_made_longer(searched: Path, npz: Path):
    with pytest.raises(RecipeError, match="is over, with 6 trials"):
        tune_tree(search_tree(npz, searched), {"tune.trials": 9}, resume=True)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("tune.alpha", [0, 0.5], "tune.alpha"),
        ("tune.seed", 1, "tune.seed"),
        ("tune.storage", "sqlite:///a.db", "storage"),
    ],
)
def test_another_search_is_refused(
    tmp_path: Path, npz: Path, key: str, value: Any, named: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("limbeck.tuning.work.PAUSE", 0.0)
    with pytest.raises(Interrupted):
        tune_tree(search_tree(npz, tmp_path / "run"), watch=Interrupting(at=60))
    with pytest.raises(RecipeError, match="another search") as told:
        tune_tree(search_tree(npz, tmp_path / "run"), {key: value}, resume=True)
    assert named in told.value.came


def test_a_database_is_shared_by_searches_of_one_teacher_alone(tmp_path: Path, npz: Path):
    storage = {"tune.storage": f"sqlite:///{tmp_path / 'shared.db'}"}
    one = tune_tree(search_tree(npz, tmp_path / "one"), storage)
    other = tune_tree(search_tree(npz, tmp_path / "other"), storage)
    assert landscape_in(tmp_path / "one") == landscape_in(tmp_path / "other")
    assert one["verdicts"] == other["verdicts"]
    assert not (tmp_path / "other/tune/trials/0001").exists()
    with pytest.raises(RecipeError, match="labels changed"):
        tune_tree(search_tree(npz, tmp_path / "third"), {**storage, "teacher.fit.epochs": 5})


def test_what_is_not_to_be_searched_is_refused(tmp_path: Path, npz: Path):
    tree = search_tree(npz, tmp_path / "run")
    with pytest.raises(RecipeError, match=r"proof\.on"):
        tune_tree(tree, {"proof.on": "validation"})
    with pytest.raises(RecipeError, match="generations"):
        tune_tree({**tree, "tune": None}, {"student.generations": 2})
    with pytest.raises(DataError, match="held out"):
        tune_tree(tree, {"data.validation": CLASSES})
    assert not (tmp_path / "run/tune").exists()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("proof.seeds", [0, 1, 2], "proof.seeds changed"), ("tune.temperature", [2, 20], "tune.temperature changed")],
)
def test_a_search_that_is_over_answers_for_nothing_else(
    searched: Path, npz: Path, tmp_path: Path, key: str, value: Any, words: str
):
    shutil.copytree(searched, tmp_path / "copy")
    with pytest.raises(RecipeError, match=words):
        tune_tree(search_tree(npz, tmp_path / "copy"), {key: value}, resume=True)


def test_what_a_search_has_lost_of_its_findings_is_written_anew(searched: Path, tmp_path: Path, npz: Path):
    shutil.copytree(searched, tmp_path / "copy")
    for name in ("landscape.json", "best.yaml"):
        (tmp_path / "copy/tune" / name).unlink()
    record = tune_tree(search_tree(npz, tmp_path / "copy"), resume=True)
    assert record == read_record(searched / "tune")
    assert landscape_in(tmp_path / "copy") == landscape_in(searched)
    assert read_recipe(tmp_path / "copy/tune/best.yaml").distill == read_recipe(searched / "tune/best.yaml").distill


def test_a_search_that_is_over_answers_for_its_data_alone(tmp_path: Path):
    npz = save_npz(tmp_path / "data.npz")
    tune_tree(search_tree(npz, tmp_path / "run"), {"tune.trials": 2})
    save_npz(npz, train=180)
    with pytest.raises(DataError, match="another training set"):
        tune_tree(search_tree(npz, tmp_path / "run"), {"tune.trials": 2}, resume=True)


def test_the_teacher_that_was_too_weak_leaves_no_search(tmp_path: Path, npz: Path):
    weak = {"teacher.fit.optimizer.lr": 1e-9}
    for _ in range(2):
        with pytest.raises(DataError, match="clearly above"):
            tune_tree(search_tree(npz, tmp_path / "run"), weak)


def test_a_search_that_somebody_works_on_is_not_deleted(tmp_path: Path, npz: Path):
    tune_tree(search_tree(npz, tmp_path / "run"), {"tune.trials": 2})
    with at_work(tmp_path / "run/tune"), pytest.raises(DataError, match="being searched"):
        tune_tree(search_tree(npz, tmp_path / "run"), {"tune.trials": 2}, overwrite=True)
    tune_tree(search_tree(npz, tmp_path / "run"), {"tune.trials": 3}, overwrite=True)
    assert len(landscape_in(tmp_path / "run")["trials"]) == 3


def test_a_trial_believes_no_student_of_another_study(
    searched: Path, tmp_path: Path, npz: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("limbeck.tuning.work.PAUSE", 0.0)
    run, trials = tmp_path / "run", tmp_path / "run/tune/trials"
    with pytest.raises(Interrupted):
        tune_tree(search_tree(npz, run), watch=Interrupting(at=120))
    (run / "tune/study.db").unlink()
    (trials / "0001").rename(trials / "other")
    (trials / "0002").rename(trials / "0001")
    (trials / "other").rename(trials / "0002")
    tune_tree(search_tree(npz, run), resume=True)
    assert landscape_in(run) == landscape_in(searched)


# --- interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 30, 80, 140, 200])
def test_ctrl_c_keeps_all_and_resume_goes_on(
    searched: Path, tmp_path: Path, npz: Path, at: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("limbeck.tuning.work.PAUSE", 0.0)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        tune_tree(search_tree(npz, tmp_path / "run"), watch=Interrupting(at=at))
    assert signal.getsignal(signal.SIGINT) is before
    record = tune_tree(search_tree(npz, tmp_path / "run"), resume=True)
    assert landscape_in(tmp_path / "run") == landscape_in(searched)
    assert record["verdicts"] == read_record(searched / "tune")["verdicts"]


def test_two_processes_share_a_search(tmp_path: Path, npz: Path):
    record = tune_tree(search_tree(npz, tmp_path / "run"), {"tune.jobs": 2, "tune.trials": 10})
    trials = landscape_in(tmp_path / "run")["trials"]
    assert [trial["number"] for trial in trials] == list(range(10))
    assert record["search"]["trials"] == 10
    log = (tmp_path / "run/tune/helpers.log").read_text()
    assert "Traceback" not in log, log
    assert "expected:" not in log.replace("expected: to run to the end", ""), log


def test_helpers_search_what_their_leader_does(tmp_path: Path, npz: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever the run's own recipe said of a search before, and however many trials were asked for at first."""
    monkeypatch.setattr("limbeck.tuning.work.PAUSE", 0.0)
    ask_teacher(recipe_from_tree(search_tree(npz, tmp_path / "run", tune=None), {}, where="t"), Materials(), Options())
    narrow = {"tune.temperature": [1, 4], "tune.jobs": 2}
    with pytest.raises(Interrupted):
        tune_tree(search_tree(npz, tmp_path / "run"), narrow, watch=Interrupting(at=40))
    record = tune_tree(search_tree(npz, tmp_path / "run"), {**narrow, "tune.trials": 40}, resume=True)
    trials = landscape_in(tmp_path / "run")["trials"]
    assert record["search"]["trials"] == len(trials) == 40
    assert all(trial["setting"]["temperature"] <= 4 for trial in trials[1:])
    assert len(list((tmp_path / "run/tune/proof").glob("0*"))) == 1
    log = (tmp_path / "run/tune/helpers.log").read_text()
    assert "expected:" not in log.replace("expected: to run to the end", ""), log


def test_helpers_end_with_the_search(tmp_path: Path, npz: Path):
    with pytest.raises(Interrupted):
        tune_tree(search_tree(npz, tmp_path / "run"), {"tune.jobs": 2}, watch=Interrupting(at=12))
    mine = [
        status.read_text()
        for status in Path("/proc").glob("[0-9]*/status")
        if f"PPid:\t{os.getpid()}\n" in status.read_text()
    ]
    assert not [status for status in mine if "python" in status and "State:\tZ" not in status]
