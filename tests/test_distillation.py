from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import limbeck
from limbeck.data import Digits, Npz, Preprocess
from limbeck.errors import DataError, Interrupted, LimbeckError, RecipeError
from limbeck.files import digest_tensors
from limbeck.models import Mlp
from limbeck.objectives import Hint, SoftTargets
from limbeck.recipe_text import read_yaml
from limbeck.teachers import Ensemble, SavedTeacher
from limbeck.training import Distill, Fit, Linear, Points, WeightedTerm
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
    students,
    tell,
    true_logits,
)

pytestmark = pytest.mark.usefixtures("unsynced")

HINTED = Distill(terms=(WeightedTerm(weight=1.0, objective=Hint(student="0", teacher="0")),))


def test_the_result(tmp_path: Path):
    result = tell(tmp_path)
    assert result.directory == tmp_path
    assert result.verdict.arm == "distilled"
    assert result.verdict.against == "scratch"
    assert result.verdicts == (result.verdict,)
    assert str(result) == f"distilled {result.verdict}."
    assert (tmp_path / "report.md").exists()
    assert (tmp_path / "report.html").exists()


def test_the_student_is_that_of_the_lowest_seed(tmp_path: Path):
    result = tell(tmp_path, seeds=[5, 2])
    weights = limbeck.load_model(tmp_path / "arms/distilled/seed-2/student", nn.Linear(6, 3)).module.state_dict()
    assert digest_tensors(result.student.state_dict()) == digest_tensors(weights)
    assert not result.student.training
    assert result.preprocess == Preprocess()
    with torch.no_grad():
        answers = result.student(result.preprocess(torch.from_numpy(rows(1, TEST)[0])))
    accuracy = float((answers.argmax(1).numpy() == rows(1, TEST)[1]).mean())
    assert accuracy == result.record["arms"]["distilled"][1]["accuracy"]


def test_the_delivered_folder_has_no_teacher_in_it(tmp_path: Path):
    tell(tmp_path, teacher=module_teacher())
    folder = tmp_path / "arms/distilled/seed-0/student"
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json", "manifest.json"}
    assert (folder / "model.safetensors").stat().st_size < 400


@pytest.mark.parametrize("student", ["mlp", Mlp(hidden=(4,)), lambda: nn.Linear(6, 3), nn.Linear(6, 3)])
def test_students_of_every_kind(tmp_path: Path, student: Any):
    result = tell(tmp_path, student=student)
    assert isinstance(result.student, nn.Module)
    assert result.student(torch.zeros(2, 6)).shape == (2, 3)
    fits = [fit for fits in result.record["arms"].values() for fit in fits]
    assert len({fit["initial_sha256"] for fit in fits}) == (1 if isinstance(student, nn.Module) else 2)


def test_an_instance_is_the_start_and_stays_as_it_was(tmp_path: Path):
    student = nn.Linear(6, 3)
    before = digest_tensors(student.state_dict())
    result = tell(tmp_path, student=student)
    assert digest_tensors(student.state_dict()) == before
    assert result.record["arms"]["distilled"][0]["initial_sha256"] == before
    assert result.record["recipe"]["student"]["model"] == {"name": "python", "what": "Linear"}


def test_the_caller_keeps_his_randomness_and_his_teacher(tmp_path: Path):
    teacher = module_teacher().train()
    before = digest_tensors(teacher.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    tell(tmp_path, teacher=teacher, fit=Fit(epochs=1, threads=1, deterministic=True))
    assert torch.equal(torch.rand(3), expected)
    assert teacher.training
    assert digest_tensors(teacher.state_dict()) == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_data_of_every_kind(tmp_path: Path):
    (x, y), (x_test, y_test) = rows(0, TRAIN), rows(1, TEST)
    arrays = tell(tmp_path / "a").record
    tensors = tell(
        tmp_path / "t",
        train=(torch.from_numpy(x), torch.from_numpy(y)),
        test=(torch.from_numpy(x_test), torch.from_numpy(y_test)),
    ).record
    sets = tell(
        tmp_path / "d",
        train=TensorDataset(torch.from_numpy(x), torch.from_numpy(y)),
        test=TensorDataset(torch.from_numpy(x_test), torch.from_numpy(y_test)),
    ).record
    assert students(arrays) == students(tensors) == students(sets)


@pytest.mark.parametrize("dress", [Path, lambda path: SavedTeacher(path=str(path))], ids=["path", "spec"])
def test_a_source_is_data_too_and_a_spec_a_teacher(tmp_path: Path, npz: Path, finished: Path, dress: Any):
    teacher = dress(finished / "teacher")
    result = tell(tmp_path / "x", train=Npz(path=str(npz)), test=None, teacher=teacher, student="mlp")
    assert result.record["recipe"]["data"]["source"] == "npz"
    assert result.record["recipe"]["teacher"] == {"kind": "saved", "path": str(finished / "teacher")}
    assert result.preprocess == Preprocess(scale=255.0)


def test_a_share_is_held_out_where_no_test_is_given(tmp_path: Path):
    record = tell(tmp_path, test=None).record
    assert record["data"]["measured"] == TRAIN // 5
    assert not record["data"]["official_test"]
    with pytest.raises(RecipeError, match="the teacher is an array, and no test was given"):
        tell(tmp_path / "x", test=None, teacher=rows(0, TRAIN)[0][:, :3])


def test_settings_arrive(tmp_path: Path):
    result = tell(
        tmp_path,
        fit=None,
        epochs=np.int64(1),
        batch_size=50,
        lr=np.float32(0.5),
        seeds=np.arange(2),
        alpha=np.float64(0.3),
        temperature=2,
        labelled=30,
        validation=20,
        preprocess=Preprocess(scale=2.0),
        arms=["scratch", "distilled"],
        classes=["x", "y", "z"],
        device="cpu",
    )
    recipe = result.record["recipe"]
    assert recipe == read_yaml(tmp_path / "recipe.resolved.yaml")
    assert (recipe["fit"]["epochs"], recipe["fit"]["batch_size"]) == (1, 50)
    assert recipe["fit"]["optimizer"]["lr"] == 0.5
    assert recipe["proof"]["seeds"] == [0, 1]
    assert recipe["distill"]["alpha"] == 0.3
    assert recipe["distill"]["objective"]["temperature"] == 2.0
    assert (recipe["data"]["labelled"], recipe["data"]["validation"]) == (30, 20)
    assert list(result.record["arms"]) == ["scratch", "distilled"]
    assert result.record["data"]["classes"] == ["x", "y", "z"]
    assert result.preprocess == Preprocess(scale=2.0)


def test_an_objective_has_a_temperature_of_its_own(tmp_path: Path):
    record = tell(tmp_path, objective=limbeck.SoftTargets(temperature=2, divergence="reverse-kl")).record
    assert record["recipe"]["distill"]["objective"] == {
        "name": "soft-targets",
        "standardise": False,
        "temperature": 2.0,
        "divergence": "reverse-kl",
        "beta": None,
    }


# --- ensembles, the whole loss, chains ------------------------------------------------------------------------------


def softer(inputs: torch.Tensor) -> torch.Tensor:
    return inputs[:, :3]


@pytest.mark.parametrize(
    "teacher",
    [
        [true_logits, module_teacher()],
        (true_logits, module_teacher()),
        Ensemble([true_logits, module_teacher()]),
    ],
    ids=["list", "tuple", "ensemble"],
)
def test_several_teachers(tmp_path: Path, teacher: Any):
    record = tell(tmp_path, teacher=teacher).record
    assert record["teacher"]["identity"]["weights"] == [0.5, 0.5]
    assert [found["asked"] for found in record["teacher"]["members"]] == [TRAIN, TRAIN]
    assert record["teacher"]["parameters"] is None  # a function shows no weights
    assert record["recipe"]["teacher"] == {"kind": "python", "what": type(teacher).__name__}
    plain = tell(tmp_path / "plain", teacher=module_teacher()).record  # which both members are
    accuracies = [[fit["accuracy"] for fit in one["arms"]["distilled"]] for one in (record, plain)]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=1e-6)


def test_an_ensemble_with_weights(tmp_path: Path):
    members = [module_teacher(), rows(0, TRAIN)[0][:, :3]]
    weighed = tell(tmp_path, teacher=Ensemble(members, weights=[3, 1], mean="logits")).record
    assert weighed["teacher"]["identity"]["weights"] == [0.75, 0.25]
    assert weighed["teacher"]["identity"]["mean"] == "logits"
    assert weighed["teacher"]["accuracy"] is None  # the array does not know the test set
    assert "The mean of the logits of 2 members" in (tmp_path / "report.md").read_text()
    with pytest.raises(RecipeError, match="the teacher is an array, and no test was given"):
        tell(tmp_path / "x", test=None, teacher=Ensemble(members))


def hidden(width: int = 5) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))


def test_the_whole_loss(tmp_path: Path):
    hint = WeightedTerm(weight=Linear(start=1.0, end=0.0), objective=Hint(student="0", teacher="0"))
    own = WeightedTerm(weight=0.1, objective=SquaredLogits(scale=0.5))
    loss = Distill(alpha=Linear(start=0.9, end=0.1), objective=SoftTargets(temperature=2.0), terms=(hint, own))
    result = tell(tmp_path, teacher=trained(hidden(9)), student=hidden, distillation=loss)
    fit = result.record["arms"]["distilled"][0]
    names = ["student_loss", "distillation_loss", "term0_hint", "term1_squared-logits"]
    assert [term["name"] for term in fit["loss"]] == list(fit["gradient_norms"]) == names
    assert result.record["recipe"]["distill"]["alpha"] == {"name": "linear", "start": 0.9, "end": 0.1}
    assert result.record["recipe"]["distill"]["terms"][1]["objective"] == {"name": "squared-logits", "scale": 0.5}
    assert set(result.student.state_dict()) == set(hidden().state_dict())


def trained(module: nn.Module) -> nn.Module:
    """A network that says what `true_logits` says, nearly."""
    x = torch.from_numpy(rows(0, TRAIN)[0])
    with torch.random.fork_rng(devices=[]):
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.03)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.mse_loss(module(x), true_logits(x)).backward()
            optimizer.step()
    return module


def test_schedules_of_alpha_and_temperature(tmp_path: Path):
    steps = Points(points=((0.0, 8.0), (1.0, 1.0)))
    plain, moving = (tell(tmp_path / str(i), **s).record for i, s in enumerate(({}, {"temperature": steps})))
    assert moving["recipe"]["distill"]["temperature"] == {"name": "points", "points": [[0.0, 8.0], [1.0, 1.0]]}
    assert moving["recipe"]["distill"]["objective"]["temperature"] == 8.0
    assert students(moving) != students(plain)
    falling = tell(tmp_path / "alpha", alpha=Linear(start=1.0, end=0.0)).record
    loss = falling["arms"]["distilled"][0]["loss"]
    assert [term["weight"] for term in loss] == [1.0, 0.0]
    assert "nan" not in (tmp_path / "alpha" / "metrics.jsonl").read_text().lower()


@pytest.mark.parametrize("student", [lambda: nn.Linear(6, 3), nn.Linear(6, 3)], ids=["factory", "instance"])
def test_generations(tmp_path: Path, student: Any):
    result = tell(tmp_path, student=student, generations=3, arms=["distilled", "scratch", "direct"])
    assert sorted(path.name for path in (tmp_path / "assistants").iterdir()) == ["1", "2"]
    assert len(result.record["assistants"]) == 2
    assert result.verdict.against == "scratch"
    without = tell(tmp_path / "without", student=student).record
    direct, distilled = result.record["arms"]["direct"], without["arms"]["distilled"]
    assert [fit["nll"] for fit in direct] == [fit["nll"] for fit in distilled]
    (tmp_path / "record.json").unlink()
    again = tell(tmp_path, student=student, generations=3, arms=["distilled", "scratch", "direct"], resume=True)
    assert measured(again.record) == measured(result.record)


def test_assistants(tmp_path: Path):
    record = tell(tmp_path, student="mlp", assistants=["mlp", Mlp(hidden=(4,))]).record
    assert record["recipe"]["student"]["assistants"] == [
        {"name": "mlp", "hidden": [800, 800], "dropout": 0.0},
        {"name": "mlp", "hidden": [4], "dropout": 0.0},
    ]
    assert limbeck.load_model(tmp_path / "assistants" / "2").spec == Mlp(hidden=(4,))
    before_own = tell(tmp_path / "own", assistants=[Mlp(hidden=(4,))], generations=2).record
    sizes = [assistant["parameters"] for assistant in before_own["assistants"]]
    assert sizes == [43, 21]


def test_students_that_do_not_hear_the_unlabelled(tmp_path: Path):
    alone, heard = (tell(tmp_path / str(u), labelled=30, unlabelled=u).record for u in (False, True))
    assert alone["arms"]["distilled"][0]["distinct_examples"] == 30
    assert heard["arms"]["distilled"][0]["distinct_examples"] == TRAIN


def test_overwrite_and_resume(tmp_path: Path):
    first = tell(tmp_path).record
    with pytest.raises(RecipeError, match="is not empty"):
        tell(tmp_path)
    assert tell(tmp_path, resume=True).record == first
    assert students(tell(tmp_path, overwrite=True, alpha=0.9).record) != students(first)


def test_interrupted_calls_say_how_to_go_on(tmp_path: Path):
    with pytest.raises(Interrupted, match="stopped by SIGINT after a safe checkpoint") as caught:
        tell(tmp_path, watch=Interrupting(1))
    assert caught.value.do == "make the same call again with resume=True"
    assert tell(tmp_path, resume=True).record["verdict"]


def test_a_watcher_hears_of_every_stage(tmp_path: Path):
    heard = Heard()
    tell(tmp_path, watch=heard)
    stages = list(dict.fromkeys(progress.stage for progress in heard))
    assert stages == ["labels", "distilled 0", "scratch 0", "distilled 1", "scratch 1"]
    assert all(0 < progress.done <= progress.total for progress in heard)
    last = [progress for progress in heard if progress.stage == "distilled 0"][-1]
    assert last.done == last.total
    assert set(last.facts) == {
        "student_loss",
        "distillation_loss",
        "data_seconds",
        "teacher_seconds",
        "student_seconds",
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher": None}, "the teacher is None"),
        ({"teacher": [[1.0, 2.0]]}, "the teacher is a list"),
        ({"teacher": 3}, "the teacher is a int"),
        ({"teacher": np.zeros((5, 3))}, "has shape (5, 3)"),
        ({"teacher": "nowhere"}, "nowhere holds no saved model"),
        ({"teacher": lambda x: [1, 2]}, "the teacher answered"),
        ({"teacher": lambda x: x[:, 0]}, "the teacher answered"),
        ({"teacher": lambda x: torch.zeros(len(x), 3)}, "the same answer to all"),
        ({"student": "mpl"}, "student is 'mpl'"),
        ({"student": 3}, "student is a int"),
        ({"student": None}, "student is a NoneType"),
        ({"student": lambda: 3}, "factory gave a int"),
        ({"student": nn.Linear(6, 4)}, "shape (2, 4)"),
        ({"student": nn.Linear(5, 3)}, "the model failed on a batch"),
        ({"student": "convnet"}, "convnet got examples of shape (6,)"),
        ({"train": None}, "train is a NoneType"),
        ({"train": "digit"}, "train is 'digit'"),
        ({"train": rows(0, 20)[0]}, "train is a ndarray"),
        ({"train": (rows(0, 20)[0], rows(0, 19)[1])}, "20 inputs came with labels of shape (19,)"),
        ({"train": (rows(0, 20)[0], rows(0, 20)[0])}, "the labels of train has the shape"),
        ({"train": (rows(0, 20)[0] * np.nan, rows(0, 20)[1])}, "20 of 20 examples hold NaN or infinity"),
        ({"train": (np.array([["a"]]), [0])}, "has the type"),
        ({"train": Digits()}, "test came with a source"),
        ({"train": "digits", "test": None, "classes": ["a"]}, "classes came with a source"),
        ({"test": images(1, 9)}, "a training example"),
        ({"test": (rows(1, 9)[0][:, :5], rows(1, 9)[1])}, "the shape of a training example"),
        ({"classes": ["a", "b"]}, "labels have no class"),
        ({"teacher": [lambda x: 4 * x[:, :3], 3]}, "member 1 of the teacher is a int"),
        ({"teacher": []}, "the teacher is a list"),
        ({"teacher": [module_teacher(), nn.Linear(6, 4)]}, "the teacher gives 4 classes"),
        ({"distillation": {"alpha": 0.3}}, "distillation is a dict"),
        ({"distillation": Distill}, "distillation is Distill"),
        ({"distillation": Distill(views="live"), "arms": ["shuffled-teacher"]}, "shuffled-teacher permutes"),
        ({"distillation": HINTED}, "the taps 0 came with a teacher that is a function"),
        ({"distillation": HINTED, "teacher": [module_teacher()]}, "the taps 0 came with a teacher that is a list"),
        ({"distillation": HINTED, "teacher": module_teacher()}, "the tap '0' is no part of the teacher"),
        ({"assistants": ["mpl"]}, "student.assistants.0.name is 'mpl' (did you mean mlp?)"),
        ({"assistants": ["convnet"]}, "convnet got examples of shape (6,)"),
        ({"assistants": "mlp"}, "assistants is 'mlp'"),
        ({"assistants": Mlp()}, "assistants is Mlp("),
        ({"assistants": [lambda: nn.Linear(6, 3)]}, "student.assistants.0 is '<function"),
        ({"generations": 0}, "generations must be 1 or more"),
        ({"generations": "2"}, "student.generations is '2'"),
        ({"arms": ["distilled", "direct"]}, "the arm direct leaves out assistants and generations"),
        ({"alpha": Linear(start=0.5, end=1.5)}, "alpha is a share"),
        ({"temperature": Linear(start=4.0, end=0.0)}, "temperature must be"),
        ({"alpha": 1.1}, "alpha is a share"),
        ({"alpha": "0.1"}, "alpha is '0.1'"),
        ({"alpha": None, "temperature": "4"}, "objective.temperature is '4'"),
        ({"temperature": 0}, "temperature must be a positive number"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"objective": "soft"}, "objective is a str"),
        ({"objective": limbeck.SoftTargets}, "objective is SoftTargets"),
        ({"fit": {"epoch": 3}}, "unknown key fit.epoch (did you mean epochs?)"),
        ({"fit": 3}, "fit is 3"),
        ({"fit": Fit(checkpoint_seconds=float("inf"))}, "fit.checkpoint_seconds is inf"),
        ({"preprocess": lambda x: x}, "student.preprocess is '<function"),
        ({"fit": None, "epochs": 0}, "epochs must be 1 or more"),
        ({"fit": None, "epochs": 1.5}, "fit.epochs is 1.5"),
        ({"fit": None, "batch_size": -1}, "batch_size must be 1 or more"),
        ({"fit": None, "lr": "fast"}, "fit.optimizer.lr is 'fast'"),
        ({"seeds": 0}, "seeds must name"),
        ({"seeds": -3}, "seeds must name"),
        ({"seeds": [-1]}, "seeds must be 0 or more"),
        ({"seeds": 2.5}, "proof.seeds is 2.5"),
        ({"seeds": [0, 0]}, "seeds must name"),
        ({"arms": "distilled"}, "proof.arms is 'distilled'"),
        ({"arms": ["destilled"]}, "proof.arms.0 is 'destilled'"),
        ({"arms": []}, "arms must name"),
        ({"labelled": 0}, "labelled must be 1 or more"),
        ({"labelled": 10**6}, "1000000 examples are to be chosen"),
        ({"labelled": 2}, "2 examples are to be labelled"),
        ({"validation": 10**6}, "1000000 examples are to be chosen"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"device": 0}, "device is 0"),
        ({"out": None}, "out is None"),
        ({"out": "a\0b"}, "out is 'a"),
    ],
)
def test_misuse_is_refused_in_words(tmp_path: Path, changes: dict[str, Any], words: str):
    with pytest.raises(LimbeckError) as caught:
        tell(**{"out": tmp_path / "run", **changes})
    assert isinstance(caught.value, RecipeError | DataError)
    assert words in caught.value.came
    assert caught.value.expected
    assert caught.value.do
    assert not list(tmp_path.glob("run/arms/*/*/student"))


@pytest.mark.parametrize(
    "both",
    [
        {"fit": Fit(epochs=2), "epochs": 3},
        {"fit": Fit(), "lr": 0.1},
        {"objective": SoftTargets(), "temperature": 2.0},
        {"distillation": Distill(), "alpha": 0.5},
        {"distillation": Distill(), "temperature": 2.0},
        {"distillation": Distill(), "objective": SoftTargets()},
    ],
)
def test_a_setting_beside_the_object_that_has_it_is_refused(tmp_path: Path, both):
    with pytest.raises(RecipeError, match="came with"):
        tell(tmp_path, **both)


def test_names_are_found_by_tab():
    assert {"distill", "Result", "LimbeckError", "load_model"} <= set(dir(limbeck))
    assert issubclass(RecipeError, limbeck.LimbeckError)


def test_a_loss_of_ones_own_takes_a_number_for_its_temperature():
    assert limbeck.Distill(temperature=2).objective.temperature == 2
    assert limbeck.Distill(temperature=2).temperature is None
    with pytest.raises(ValueError, match="give it once"):
        limbeck.Distill(temperature=2, objective=limbeck.SoftTargets(temperature=3))
    with pytest.raises(ValueError, match="terms are WeightedTerm"):
        limbeck.Distill(terms=((1.0, limbeck.SoftTargets()),))


def test_a_soft_label_objective_without_logits_is_refused_in_words(tmp_path: Path):
    with pytest.raises(RecipeError, match="hint hears no logits"):
        tell(tmp_path / "run", objective=Hint(student="a", teacher="b"))


def test_inputs_to_preprocess_may_be_an_array():
    assert Preprocess(scale=2.0)(np.array([[2, 4]])).tolist() == [[1.0, 2.0]]
