import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from limbeck.data import UNLABELLED, Augment, from_arrays
from limbeck.errors import DataError, Interrupted, RecipeError
from limbeck.files import describe
from limbeck.measurement import Verdict
from limbeck.pipeline import Options, run
from limbeck.preparation import Materials, prepare
from limbeck.progress import Progress
from limbeck.recipe import recipe_from_tree
from limbeck.record import read_record
from limbeck.rundir import check_apart
from limbeck.training import Distill, Fit
from running import (
    TEST,
    TRAIN,
    Heard,
    Interrupting,
    SquaredLogits,
    images,
    measured,
    module_teacher,
    rows,
    run_tree,
    students,
    tell,
    tree,
)

pytestmark = pytest.mark.usefixtures("unsynced")

ALL_ARMS = ["distilled", "scratch", "label-smoothing", "hard-teacher", "shuffled-teacher"]


# --- the record ---------------------------------------------------------------------------------------------------


def test_the_record_holds_what_the_design_names(finished: Path, record: dict[str, Any]):
    assert record["format"] == 1
    assert {"verdict", "recipe", "environment", "teacher", "arms", "files"} <= set(record)
    assert set(record["verdict"]) >= {
        "word",
        "arm",
        "against",
        "difference",
        "interval",
        "unit",
        "seeds",
        "examples",
    }
    assert record["verdict"]["examples"] == TEST
    assert 0 <= record["teacher"]["accuracy"] <= 1
    assert {"limbeck", "torch", "python", "processor", "cores", "commit"} <= set(record["environment"])
    assert list(record["arms"]) == ["distilled", "scratch"]
    for arm, fits in record["arms"].items():
        assert [fit["seed"] for fit in fits] == [0, 1]
        for fit in fits:
            named = {"seed", "accuracy", "nll", "ece", "agreement", "steps", "initial_sha256", "batch_size"}
            assert named <= set(fit)
            assert fit["arm"] == arm


def test_the_files_are_as_the_record_says(finished: Path, record: dict[str, Any]):
    weights = [name for name in record["files"] if name.endswith("student/model.safetensors")]
    assert len(weights) == 4
    for name, facts in record["files"].items():
        assert describe(finished / name) == facts
    present = {str(path.relative_to(finished)) for path in finished.glob("arms/*/*/student/*")}
    assert set(record["files"]) == present


def test_the_recipe_in_the_record_is_a_recipe(record: dict[str, Any]):
    recipe = recipe_from_tree(record["recipe"], {}, where="the record")
    assert recipe.fit.threads == 1
    assert recipe.proof.seeds == (0, 1)


def test_the_counts_of_the_data(record: dict[str, Any]):
    data = record["data"]
    assert data["source"] == "npz"
    assert data["classes"] == ["0", "1", "2"]
    assert data["input_shape"] == [1, 8, 8]
    assert data["teacher_train"] == data["teacher_labelled"] == data["student_train"] == TRAIN
    assert data["student_labelled"] == TRAIN
    assert data["measured"] == TEST
    assert data["overlap"] == data["duplicates"] == data["validation_labels"] == 0


def test_arms_are_fair(npz: Path, tmp_path: Path):
    values = tree(npz, tmp_path, proof={"seeds": [3, 5], "arms": ALL_ARMS})
    record = run_tree(values, {"data.labelled": 30, "distill.alpha": 0.5})
    assert list(record["arms"]) == ALL_ARMS
    for place in range(2):
        fits = [fits[place] for fits in record["arms"].values()]
        assert len({fit["initial_sha256"] for fit in fits}) == 1
        assert {(fit["steps"], fit["batch_size"]) for fit in fits} == {(10, 32)}
    starts = {fit["initial_sha256"] for fits in record["arms"].values() for fit in fits}
    assert len(starts) == 2
    assert len(set(students(record).values())) == 10
    seen = {arm: fits[0]["distinct_examples"] for arm, fits in record["arms"].items()}
    assert seen == {**dict.fromkeys(ALL_ARMS, TRAIN), "scratch": 30, "label-smoothing": 30}
    pairs = [(verdict["arm"], verdict["against"]) for verdict in record["verdicts"]]
    assert pairs == [
        ("distilled", "scratch"),
        ("distilled", "label-smoothing"),
        ("distilled", "hard-teacher"),
        ("distilled", "shuffled-teacher"),
        ("label-smoothing", "scratch"),
        ("hard-teacher", "scratch"),
        ("shuffled-teacher", "scratch"),
    ]
    assert set(record["mcnemar"]) == set(record["gap_share"]) == set(ALL_ARMS) - {"scratch"}


def test_one_recipe_is_one_result(npz: Path, tmp_path: Path, finished: Path):
    first, second = read_record(finished), run_tree(tree(npz, tmp_path / "again"))
    assert students(first) == students(second)
    assert measured(first) == measured(second)


def test_one_seed_is_not_compared(npz: Path, tmp_path: Path):
    verdict = Verdict.from_dict(run_tree(tree(npz, tmp_path, proof={"seeds": [7]}))["verdict"])
    assert verdict.word == "NOT COMPARED"
    assert "one seed" in str(verdict)


def test_one_arm_is_not_compared(npz: Path, tmp_path: Path):
    record = run_tree(tree(npz, tmp_path, proof={"seeds": [0, 1], "arms": ["hard-teacher"]}))
    assert record["verdict"]["word"] == "NOT COMPARED"
    assert record["verdict"]["arm"] == "hard-teacher"
    assert record["gap_share"] == {}
    assert record["teacher"]["verdict"] is None


# --- the data -----------------------------------------------------------------------------------------------------


def prepared(npz: Path, **data: Any) -> Any:
    values = tree(npz, "OUT", data={"source": "npz", "path": str(npz), **data})
    return prepare(recipe_from_tree(values, {}, where="the test"), Materials())


def test_unlabelled_examples_are_heard_or_left_out(npz: Path):
    whole, few, alone = prepared(npz), prepared(npz, labelled=30), prepared(npz, labelled=30, unlabelled=False)
    assert (len(whole.train), whole.facts["student_labelled"]) == (TRAIN, TRAIN)
    assert (len(few.train), few.facts["student_labelled"]) == (TRAIN, 30)
    assert (len(alone.train), alone.facts["student_labelled"]) == (30, 30)
    labelled = few.train.labels != UNLABELLED
    assert few.train.labels[labelled].bincount().tolist() == [10, 10, 10]
    assert torch.equal(few.train.keys[labelled], alone.train.keys)
    assert len(few.teacher_train) == len(alone.teacher_train) == TRAIN


def test_validation_is_held_out_of_everything(npz: Path):
    held = prepared(npz, validation=30)
    assert len(held.teacher_train) == len(held.train) == TRAIN - 30
    assert held.facts["validation_labels"] == 30
    assert len(held.given_train) == TRAIN
    assert len(held.measured) == TEST


def test_a_run_on_validation_never_looks_at_the_test(tmp_path: Path):
    train, records = images(0, TRAIN), []
    for name, test in (("a", images(1, TEST)), ("b", (images(2, TEST)[0], np.full(TEST, 1)))):
        path = tmp_path / f"{name}.npz"
        np.savez(path, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
        values = tree(path, tmp_path / name, data={"source": "npz", "path": str(path), "validation": 30})
        records.append(measured(run_tree({**values, "proof": {"seeds": [0, 1], "on": "validation"}})))
    assert records[0] == records[1]
    assert records[0]["data"]["measured_on"] == "validation"
    assert records[0]["data"]["measured"] == 30


def overlapping(path: Path, shared: int, test: int = TEST) -> Path:
    (x, y), (x_test, y_test) = images(0, TRAIN), images(1, test)
    np.savez(
        path,
        x_train=x,
        y_train=y,
        x_test=np.concatenate([x_test, x[:shared]]),
        y_test=np.concatenate([y_test, y[:shared]]),
    )
    return path


def test_overlap_is_counted_or_dropped(tmp_path: Path):
    path = overlapping(tmp_path / "x.npz", 9)
    kept, dropped = prepared(path), prepared(path, drop_overlap=True)
    assert kept.facts["overlap"] == dropped.facts["overlap"] == 9
    assert (len(kept.measured), len(dropped.measured)) == (TEST + 9, TEST)


def test_something_must_be_left_to_measure(tmp_path: Path):
    path = overlapping(tmp_path / "x.npz", 30, test=0)
    with pytest.raises(DataError, match="no example is left to measure"):
        prepared(path, drop_overlap=True)


def test_something_must_be_left_to_learn_from(tmp_path: Path):
    recipe = recipe_from_tree(tree(Path("X"), tmp_path), {"data.unlabelled": False}, where="the test")
    unlabelled = from_arrays((rows(0, 30)[0], None), rows(1, 30), classes=("a", "b", "c"))
    with pytest.raises(DataError, match="no example is left to train on"):
        prepare(recipe, Materials(splits=unlabelled))


def test_a_single_class_is_refused(tmp_path: Path):
    x, y = rows(0, 30)
    recipe = recipe_from_tree(tree(Path("X"), tmp_path), {}, where="the test")
    with pytest.raises(DataError, match="all labels of the training set are 1"):
        prepare(recipe, Materials(splits=from_arrays((x, np.ones_like(y)), (x + 1, y))))


def test_labels_to_choose_from(tmp_path: Path):
    recipe = recipe_from_tree(tree(Path("X"), tmp_path), {"data.labelled": 5}, where="the test")
    unlabelled = from_arrays((rows(0, 30)[0], None), rows(1, 30), classes=("a", "b", "c"))
    with pytest.raises(RecipeError, match=r"data\.labelled is 5, and no training example has a label"):
        prepare(recipe, Materials(splits=unlabelled))


def test_some_labels_lack_in_train_and_test(tmp_path: Path):
    (x, y), (x_test, y_test) = rows(0, TRAIN), rows(1, TEST)
    y, y_test = np.where(np.arange(TRAIN) % 2, y, UNLABELLED), np.where(np.arange(TEST) % 3, y_test, UNLABELLED)
    record = tell(tmp_path, train=(x, y), test=(x_test, y_test)).record
    assert record["data"]["student_labelled"] == record["arms"]["scratch"][0]["distinct_examples"] == TRAIN // 2
    assert record["verdict"]["examples"] == record["arms"]["distilled"][0]["examples"] == TEST * 2 // 3
    assert record["arms"]["distilled"][0]["agreement"] is not None


def test_no_labels_at_all(tmp_path: Path):
    nothing_known: dict[str, Any] = {
        "train": (rows(0, TRAIN)[0], None),
        "test": (rows(1, TEST)[0], None),
        "classes": ["a", "b", "c"],
    }
    result = tell(tmp_path / "x", arms=["distilled", "hard-teacher"], **nothing_known)
    assert result.verdict.word == "NOT COMPARED"
    assert "no labels" in str(result.verdict)
    fit = result.record["arms"]["distilled"][0]
    assert fit["accuracy"] is None
    assert fit["agreement"] > 0.5
    assert [term["name"] for term in fit["loss"]] == ["distillation_loss"]
    assert "–" in (tmp_path / "x" / "report.md").read_text()
    with pytest.raises(RecipeError, match="the arm scratch has no labelled examples"):
        tell(tmp_path / "y", **nothing_known)
    with pytest.raises(RecipeError, match="the arm distilled has no labelled examples"):
        tell(tmp_path / "y", arms=["distilled"], alpha=1.0, **nothing_known)
    assert not (tmp_path / "y" / "labels").exists()


# --- teachers and students -----------------------------------------------------------------------------------------


def test_a_saved_teacher_is_the_trained_one(npz: Path, tmp_path: Path, finished: Path):
    values = tree(npz, tmp_path, teacher={"kind": "saved", "path": str(finished / "teacher")})
    record, before = run_tree(values), read_record(finished)
    assert students(record) == students(before)
    assert not (tmp_path / "teacher").exists()


def test_a_student_can_teach(npz: Path, tmp_path: Path, finished: Path):
    path = str(finished / "arms" / "distilled" / "seed-0" / "student")
    record = run_tree(tree(npz, tmp_path, teacher={"kind": "saved", "path": path}), allow_weak=True)
    assert record["teacher"]["accuracy"] == read_record(finished)["arms"]["distilled"][0]["accuracy"]


def logits_of_rows() -> Tensor:
    return 4 * torch.from_numpy(rows(0, TRAIN)[0][:, :3])


@pytest.mark.parametrize(
    ("teacher", "gives"),
    [
        (module_teacher, "logits"),
        (lambda: lambda x: 4 * x[:, :3], "logits"),
        (lambda: lambda x: (4 * x[:, :3]).softmax(1), "probabilities"),
        (logits_of_rows, "logits"),
        (lambda: logits_of_rows().numpy(), "logits"),
        (lambda: logits_of_rows().softmax(1), "probabilities"),
        (lambda: nn.Sequential(module_teacher(), nn.Softmax(1)), "probabilities"),
    ],
    ids=["module", "function", "sure-function", "tensor", "array", "probabilities", "softmax"],
)
def test_teachers_from_python(tmp_path: Path, teacher: Callable[[], Any], gives: str):
    record = tell(tmp_path, teacher=teacher()).record
    assert record["teacher"]["gives"] == gives
    assert record["teacher"]["train_accuracy"] > 0.8
    assert record["labels"]["distinct"] == TRAIN
    of_table = isinstance(teacher(), Tensor | np.ndarray)
    assert (record["teacher"]["accuracy"] is None) == of_table
    assert (record["arms"]["distilled"][0]["agreement"] is None) == of_table


def test_an_array_has_rows_for_what_is_held_out_too(tmp_path: Path):
    splits = from_arrays(rows(0, TRAIN), rows(1, TEST))
    changes = {"data.validation": 30, "proof.on": "validation", "teacher": {"kind": "python", "what": "Tensor"}}
    recipe = recipe_from_tree(tree(Path("X"), tmp_path), changes, where="the test")
    record = run(recipe, Materials(splits=splits, teacher=logits_of_rows()), Options())
    assert record["teacher"]["accuracy"] > 0.8
    assert record["data"]["measured"] == 30


def test_what_only_python_can_hand_over(npz: Path, tmp_path: Path):
    for key, value in (
        ("data", {"source": "python"}),
        ("teacher", {"kind": "python", "what": "x"}),
        ("student", {"model": {"name": "python", "what": "x"}}),
    ):
        with pytest.raises(RecipeError, match="is python") as caught:
            run_tree(tree(npz, tmp_path / key, **{key: value}))
        assert "in Python" in caught.value.do


def test_a_teacher_of_other_classes(npz: Path, tmp_path: Path):
    x, y = images(0, TRAIN)
    np.savez(tmp_path / "two.npz", x=x[y < 2], y=y[y < 2])
    two = run_tree(tree(tmp_path / "two.npz", tmp_path / "two"))
    assert two["data"]["classes"] == ["0", "1"]
    values = tree(npz, tmp_path / "three", teacher={"kind": "saved", "path": str(tmp_path / "two" / "teacher")})
    with pytest.raises(DataError, match="knows the classes 0, 1") as caught:
        run_tree(values)
    assert "0, 1, 2" in caught.value.expected


def test_a_teacher_of_other_inputs(tmp_path: Path, finished: Path):
    x, y = images(0, TRAIN)
    np.savez(tmp_path / "wide.npz", x=np.concatenate([x, x], axis=2), y=y)
    values = tree(tmp_path / "wide.npz", tmp_path / "run", teacher={"kind": "saved", "path": str(finished / "teacher")})
    with pytest.raises(DataError, match=r"the teacher failed on examples of shape \(1, 8, 16\)"):
        run_tree(values)


def test_a_teacher_of_another_width(tmp_path: Path):
    with pytest.raises(DataError, match="the teacher gives 4 classes, the data have 3"):
        tell(tmp_path / "a", teacher=nn.Linear(6, 4))
    with pytest.raises(DataError, match=r"the teacher failed on examples of shape \(6,\)"):
        tell(tmp_path / "b", teacher=nn.Linear(5, 3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_teacher_that_answers_no_number(tmp_path: Path, bad: float):
    def teacher(inputs: Tensor) -> Tensor:
        return torch.where(inputs[:, :1] > 1.5, bad, 4 * inputs[:, :3])

    with pytest.raises(DataError, match="is NaN or infinite"):
        tell(tmp_path, teacher=teacher)
    assert not list(tmp_path.glob("labels/*/manifest.json"))


def test_a_weak_teacher_is_refused_unless_allowed(tmp_path: Path):
    with pytest.raises(DataError, match="the teacher is right on"):
        tell(tmp_path, teacher=lambda x: -4 * x[:, :3])
    assert tell(tmp_path, teacher=lambda x: -4 * x[:, :3], allow_weak_teacher=True).record


def test_students_do_not_fit_and_no_hour_is_lost(npz: Path, tmp_path: Path):
    np.savez(tmp_path / "rows.npz", x=rows(0, TRAIN)[0], y=rows(0, TRAIN)[1])
    heard = Heard()
    with pytest.raises(RecipeError, match=r"convnet got examples of shape \(6,\)"):
        run_tree(tree(tmp_path / "rows.npz", tmp_path / "run", student={"model": {"name": "convnet"}}), watch=heard)
    assert not heard


def frozen() -> nn.Module:
    return nn.Linear(6, 3).requires_grad_(False)


@pytest.mark.parametrize(
    ("student", "words"),
    [
        (frozen, "nothing that can be trained"),
        (nn.Identity, "nothing that can be trained"),
        (lambda: nn.LazyLinear(3), "lazy parameters"),
        (lambda: nn.BatchNorm2d(3), "failed on a batch"),
    ],
)
def test_a_student_that_cannot_be_trained_is_refused_before_the_teacher_is_asked(tmp_path: Path, student, words: str):
    def teacher(inputs: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the teacher was asked")

    with pytest.raises(RecipeError, match=words):
        tell(tmp_path, student=student, teacher=teacher)


def test_a_batch_that_cannot_be_parted_is_refused_before_the_teacher_is_asked(tmp_path: Path):
    def teacher(inputs: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the teacher was asked")

    normed = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))
    with pytest.raises(RecipeError, match="at least 8 examples"):
        tell(tmp_path, student=normed, teacher=teacher, fit=Fit(batch_size=4, accumulate=4))


def test_an_in_place_student_does_not_change_what_the_others_are_measured_on(tmp_path: Path):
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(6, 3)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            inputs += 1
            return self.out(inputs)

    class Plain(InPlace):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.out(inputs + 1)

    accuracies = [
        [
            fit["accuracy"]
            for fits in tell(tmp_path / kind.__name__, student=kind).record["arms"].values()
            for fit in fits
        ]
        for kind in (InPlace, Plain)
    ]
    assert accuracies[0] == accuracies[1]


def test_a_student_changed_between_kill_and_resume_is_refused(tmp_path: Path):
    def made(active: type[nn.Module]) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), active(), nn.Linear(8, 3))

    tell(tmp_path, student=lambda: made(nn.ReLU))
    with pytest.raises(DataError, match="student"):
        tell(tmp_path, student=lambda: made(nn.Identity), resume=True)


def test_a_factory_with_randomness_of_its_own_is_refused(tmp_path: Path):
    def make() -> nn.Module:
        module = nn.Linear(6, 3)
        with torch.no_grad():
            module.bias.copy_(torch.from_numpy(np.random.default_rng().random(3)))
        return module

    heard = Heard()
    with pytest.raises(RecipeError, match="begin with different weights") as caught:
        tell(tmp_path, student=make, watch=heard)
    assert "torch alone" in caught.value.do
    assert not heard


def test_a_factory_that_changes_its_mind_later_is_refused_too(tmp_path: Path):
    made = []

    def make() -> nn.Module:
        made.append(nn.Linear(6, 3))
        if len(made) == 4:
            nn.init.zeros_(made[-1].bias)
        return made[-1]

    with pytest.raises(RecipeError, match="the students of seed 0 begin with different weights, distilled"):
        tell(tmp_path, student=make)


def test_live_views(npz: Path, tmp_path: Path):
    changes = {"distill.views": "live", "fit.augment": {"shift": 1}, "fit.epochs": 1}
    live = run_tree(tree(npz, tmp_path / "live"), changes)
    plain = run_tree(tree(npz, tmp_path / "plain"), {**changes, "distill.views": 1})
    assert students(live) != students(plain)
    still = {**changes, "fit.augment": {}}
    assert measured(run_tree(tree(npz, tmp_path / "a"), still))["files"].keys() == live["files"].keys()


def test_all_that_hear_a_teacher_may_learn_from_stored_mixes(npz: Path, tmp_path: Path):
    changes = {
        "distill.views": 2,
        "fit.augment": {"flip": True, "cutmix": 1.0},
        "teacher.fit.augment": {"mixup": 0.2},
        "data.labelled": 30,
        "student.generations": 2,
        "proof.arms": ["distilled", "scratch", "label-smoothing", "hard-teacher", "shuffled-teacher", "direct"],
        "proof.seeds": [0],
    }
    record = run_tree(tree(npz, tmp_path / "run"), changes)
    stores = [json.loads(path.read_bytes()) for path in (tmp_path / "run" / "labels").glob("*/manifest.json")]
    assert [store["views"] for store in stores] == [2, 2]
    assert len({store["fingerprint"]["views"]["partners"] for store in stores}) == 1
    assert set(record["arms"]) == set(changes["proof.arms"])


@pytest.mark.parametrize("views", [2, "live"])
def test_a_table_has_no_answers_about_views(tmp_path: Path, views: Any):
    def bands(x: Tensor) -> Tensor:
        return x.reshape(-1, 8, 8)[:, [0, 3, 6]].float().mean(dim=2) / 10

    x, y = images(0, 60)
    table = np.eye(3, dtype=np.float32)[y] * 4
    for teacher in (table, [table, bands]):
        with pytest.raises(RecipeError, match="a table of answers about plain examples"):
            tell(
                tmp_path / str(isinstance(teacher, list)),
                teacher=teacher,
                student="mlp",
                train=(x, y),
                test=images(1, 30),
                fit=Fit(epochs=1, augment=Augment(flip=True)),
                distillation=Distill(views=views),
            )


def test_an_objective_of_ones_own(tmp_path: Path):
    result = tell(tmp_path, objective=SquaredLogits(scale=0.1))
    assert result.record["recipe"]["distill"]["objective"] == {"name": "squared-logits", "scale": 0.1}
    assert "squared-logits(scale 0.1)" in (tmp_path / "report.md").read_text()
    assert measured(tell(tmp_path, objective=SquaredLogits(scale=0.1), resume=True).record) == measured(result.record)


def test_a_diverging_student_ends_the_run_in_words(npz: Path, tmp_path: Path):
    with pytest.raises(RecipeError, match="training diverged"):
        run_tree(tree(npz, tmp_path), {"fit.optimizer": {"name": "sgd", "lr": 1e30}, "fit.epochs": 4})
    assert not (tmp_path / "record.json").exists()


# --- resume -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """The record of a run that was left alone, and how many signs of life it gave."""
    heard = Heard()
    record = run_tree(varied(npz, tmp_path_factory.mktemp("whole") / "run"), watch=heard)
    return record, len(heard)


def varied(npz: Path, out: Path) -> dict[str, Any]:
    """A recipe with everything that could remember something."""
    fit = {"epochs": 2, "batch_size": 32, "threads": 1, "accumulate": 2, "augment": {"shift": 1}, "clip": 1.0}
    model = {"name": "convnet", "channels": [4, 8]}
    return {
        **tree(npz, out),
        "fit": fit,
        "student": {"model": model},
        "data": {"source": "npz", "path": str(npz), "labelled": 60},
    }


@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.8])
def test_an_interrupted_run_ends_in_the_same_bits(npz: Path, tmp_path: Path, whole: Any, share: float):
    record, signs = whole
    values = varied(npz, tmp_path)
    with pytest.raises(Interrupted) as caught:
        run_tree(values, watch=Interrupting(round(share * signs)))
    assert caught.value.exit_status == 130
    assert not (tmp_path / "record.json").exists()
    assert measured(run_tree(values, resume=True)) == measured(record)


def test_a_run_interrupted_again_and_again(npz: Path, tmp_path: Path, whole: Any):
    record, _ = whole
    values, stops = varied(npz, tmp_path), []
    while not (tmp_path / "record.json").exists():
        try:
            run_tree(values, resume=bool(stops), watch=Interrupting(5, signal.SIGTERM))
        except Interrupted as stopped:
            stops.append(stopped.exit_status)
    assert len(stops) > 5
    assert set(stops) == {143}
    assert measured(read_record(tmp_path)) == measured(record)
    lines = [line.split('"seconds"')[0] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == len(set(lines))


def test_interrupted_while_labelling(npz: Path, tmp_path: Path, whole: Any):
    def watch(progress: Progress) -> None:
        if progress.stage == "labels":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="SIGINT"):
        run_tree(varied(npz, tmp_path), watch=watch)
    assert measured(run_tree(varied(npz, tmp_path), resume=True)) == measured(whole[0])


def test_signals_are_given_back(npz: Path, tmp_path: Path):
    before = signal.getsignal(signal.SIGINT)
    run_tree(tree(npz, tmp_path, proof={"seeds": [0], "arms": ["distilled"]}))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_is_only_read(npz: Path, tmp_path: Path):
    values, heard = tree(npz, tmp_path), Heard()
    record = run_tree(values)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert run_tree(values, resume=True, watch=heard) == record
    assert not heard
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == before


def test_other_data_or_another_teacher_cannot_go_on(tmp_path: Path):
    tell(tmp_path)
    (x, y), (x_test, y_test) = rows(0, TRAIN), rows(1, TEST)
    with pytest.raises(DataError, match="begun with another training set"):
        tell(tmp_path, train=(x[::-1].copy(), y), resume=True)
    with pytest.raises(DataError, match="begun with another measured set"):
        tell(tmp_path, test=(x_test, np.roll(y_test, 1)), resume=True)
    with pytest.raises(RecipeError, match=r"teacher\.what: true_logits -> Linear"):
        tell(tmp_path, teacher=module_teacher(), resume=True)
    with pytest.raises(DataError, match="the teacher answers otherwise"):
        tell(tmp_path, teacher=renamed(lambda x: 5 * x[:, :3]), resume=True)


def test_another_network_cannot_go_on(tmp_path: Path):
    tell(tmp_path, teacher=module_teacher())
    other = module_teacher()
    with torch.no_grad():
        other.weight[0, 0] += 1
    with pytest.raises(DataError, match="begun with another teacher"):
        tell(tmp_path, teacher=other, resume=True)


def renamed(function: Any) -> Any:
    function.__qualname__ = "true_logits"
    return function


def test_a_damaged_arm_is_not_passed_over(npz: Path, tmp_path: Path):
    values = tree(npz, tmp_path)
    run_tree(values)
    (tmp_path / "record.json").unlink()
    path = tmp_path / "arms" / "distilled" / "seed-0" / "student" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(DataError, match="sha256"):
        run_tree(values, resume=True)


def test_outside_the_main_thread(npz: Path, tmp_path: Path):
    records: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: records.append(run_tree(tree(npz, tmp_path))))
    thread.start()
    thread.join()
    assert len(records[0]["arms"]["distilled"]) == 2


def test_seeds_and_arms_can_be_added_to_a_run(tmp_path: Path):
    tell(tmp_path, seeds=2)
    heard = Heard()
    grown = tell(tmp_path, seeds=3, arms=("distilled", "scratch", "hard-teacher"), resume=True, watch=heard).record
    stages = {progress.stage for progress in heard}
    assert stages == {"distilled 2", "scratch 2", "hard-teacher 0", "hard-teacher 1", "hard-teacher 2"}
    assert grown["verdict"]["seeds"] == [0, 1, 2]
    whole = tell(tmp_path / "whole", seeds=3, arms=("distilled", "scratch", "hard-teacher")).record
    assert students(grown) == students(whole)
    with pytest.raises(RecipeError, match="begun with another recipe"):
        tell(tmp_path, seeds=2, resume=True)


def test_a_damaged_student_is_found_on_resume(tmp_path: Path):
    tell(tmp_path)
    path = tmp_path / "arms/scratch/seed-1/student/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="scratch/seed-1/student"):
        tell(tmp_path, resume=True)


def test_a_run_inside_its_data_is_refused(tmp_path: Path):
    images = tmp_path / "images"
    for name in "ab":
        (images / name).mkdir(parents=True)
        for i in range(20):
            pixels = np.random.default_rng(i + 20 * (name == "b")).integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(images / name / f"{i}.png")
    values = tree(tmp_path, images / "runs")
    values["data"] = {"source": "images", "path": str(images), "colour": "grey"}
    with pytest.raises(RecipeError, match="lies inside data"):
        run_tree(values)
    assert {path.name for path in images.iterdir()} == {"a", "b"}


def test_a_run_below_the_current_directory_as_data_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    np.savez(tmp_path / "rows.npz", x=rows(0, TRAIN)[0], y=rows(0, TRAIN)[1])
    monkeypatch.chdir(tmp_path)
    values = tree(tmp_path / "rows.npz", Path("runs"))
    recipe = recipe_from_tree(values, {"data.source": "images", "data.path": "."}, where="the test")
    with pytest.raises(RecipeError, match="lies inside data"):
        check_apart(recipe, Path("runs/first"))
