import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import Digits, Idx
from limbeck.errors import RecipeError
from limbeck.files import path_of
from limbeck.models import ConvNet, Mlp
from limbeck.objectives import CrossEntropy, HardTargets, SoftTargets
from limbeck.recipe import Recipe, TrainedTeacher, read_recipe, recipe_from_tree, tree_of
from limbeck.recipe_text import parse_yaml, write_yaml
from limbeck.teachers import SavedTeacher
from running import tree

DESIGN = """
format: 1
data: {source: idx, path: PATH, labelled: null, validation: 0}       # labelled: how many training labels are used
teacher:
  kind: train                                                        # train | saved | ... (limbeck list teachers)
  model: {name: mlp, hidden: [1200, 1200], dropout: 0.5}
  preprocess: {scale: 255}
  fit: {epochs: 60, augment: {shift: 2}}                             # the fields of fit below
student: {model: {name: mlp, hidden: [800, 800]}, preprocess: {scale: 255}}
distill:
  alpha: 0.1
  temperature: 4.0
  objective: {name: soft-targets, divergence: forward-kl}
  terms: []
  views: 1
fit:
  epochs: 20
  batch_size: 128
  optimizer: {name: adamw, lr: 0.001, weight_decay: 0.0001}
  schedule: {name: cosine, warmup: 0.05}
  augment: {}
  precision: fp32
  accumulate: 1
  clip: null
  threads: auto
proof: {seeds: [0, 1, 2, 3, 4], arms: [distilled, scratch], metric: accuracy}
device: auto
out: runs/first
"""


def read(text: str, **changes: Any) -> Recipe:
    return recipe_from_tree(parse_yaml(text, where="the test"), changes, where="the test")


def least(**changes: Any) -> dict[str, Any]:
    return {**tree(Path("DATA"), "runs/x"), **changes}


def refusal(values: Any, changes: dict[str, Any] | None = None) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        recipe_from_tree(values, changes or {}, where="r.yaml")
    assert caught.value.exit_status == 2
    return caught.value


def test_the_recipe_of_the_design_is_read_as_written():
    recipe = read(DESIGN)
    assert recipe.data.source == Idx(path="PATH")
    assert isinstance(recipe.teacher, TrainedTeacher)
    assert recipe.teacher.model == Mlp(hidden=(1200, 1200), dropout=0.5)
    assert recipe.teacher.fit.epochs == 60
    assert recipe.teacher.fit.augment.shift == 2
    assert recipe.teacher.fit.batch_size == recipe.fit.batch_size == 128
    assert recipe.distill.objective == SoftTargets(temperature=4.0, divergence="forward-kl")
    assert recipe.distill.weights == (0.1, 0.9)
    assert recipe.fit.threads == "auto"
    assert recipe.fit.clip is None
    assert recipe.proof.seeds == (0, 1, 2, 3, 4)
    assert recipe.student.preprocess is not None
    assert recipe.student.preprocess.scale == 255


def test_little_has_to_be_given():
    recipe = read(
        "{data: {source: digits}, teacher: {kind: saved, path: T}, student: {model: {name: mlp}}, out: runs/x}"
    )
    assert recipe.data.source == Digits()
    assert recipe.teacher == SavedTeacher(path="T")
    assert recipe.fit.epochs == 20


recipes = st.builds(
    lambda lr, seeds, labelled, temperature, weights, out, hidden, clip, path: least(
        data={"source": "npz", "path": path, "labelled": labelled, "unlabelled": False},
        student={"model": {"name": "mlp", "hidden": hidden}, "preprocess": {"scale": 3, "mean": [0.5]}},
        distill={**weights, "temperature": temperature, "views": "live"},
        fit={"optimizer": {"name": "sgd", "lr": lr}, "clip": clip, "schedule": {"name": "one-cycle"}},
        proof={"seeds": seeds},
        out=out,
    ),
    lr=st.floats(1e-12, 1e6),
    seeds=st.lists(st.integers(0, 2**70), min_size=1, max_size=4, unique=True),
    labelled=st.none() | st.integers(1, 10**9),
    temperature=st.floats(1e-3, 1e3),
    weights=st.fixed_dictionaries({"alpha": st.floats(0, 1)})
    | st.fixed_dictionaries({"student_weight": st.floats(0, 9), "distillation_weight": st.floats(0.1, 9)}),
    out=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
    hidden=st.lists(st.integers(1, 9000), max_size=3),
    clip=st.none() | st.floats(1e-9, 1e9),
    path=st.sampled_from(["x", "1e-3", "no", "null", "~", "2024-01-01", " né 标签 \"q\" 'r' ", "a: b", "# c", "010"]),
)


@given(recipes)
@settings(max_examples=25, deadline=None)
def test_file_and_recipe_are_one(values: dict[str, Any]):
    recipe = recipe_from_tree(values, {}, where="the test")
    text = write_yaml(tree_of(recipe))
    again = read(text)
    assert again == recipe
    assert write_yaml(tree_of(again)) == text


def test_the_file_form_names_every_field():
    written = tree_of(read(DESIGN))
    assert written["data"]["source"] == "idx"
    assert written["data"]["path"] == "PATH"
    assert written["distill"]["objective"] == {
        "name": "soft-targets",
        "standardise": False,
        "temperature": 4.0,
        "divergence": "forward-kl",
        "beta": None,
    }
    assert list(written) == [
        "format",
        "data",
        "teacher",
        "student",
        "labels",
        "distill",
        "fit",
        "proof",
        "tune",
        "device",
        "out",
    ]


# --- temperature, alpha and --set -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["temperature", "distillation_temp"])
def test_the_temperature_of_distill_is_the_objectives(key: str):
    recipe = recipe_from_tree(least(distill={key: 8}), {}, where="r")
    assert recipe.distill.objective == SoftTargets(temperature=8.0)


def test_two_temperatures_that_agree_are_one():
    given = {"temperature": 3, "distillation_temp": 3, "objective": {"name": "soft-targets", "temperature": 3}}
    assert recipe_from_tree(least(distill=given), {}, where="r").distill.objective == SoftTargets(temperature=3.0)


@pytest.mark.parametrize(
    "distill",
    [
        {"temperature": 4, "distillation_temp": 5},
        {"temperature": 4, "objective": {"name": "soft-targets", "temperature": 5}},
        {"temperature": 4, "objective": {"name": "hard-targets"}},
    ],
)
def test_temperatures_that_contradict_are_refused(distill: dict[str, Any]):
    assert "temperature" in refusal(least(distill=distill)).came


def test_an_objective_without_a_usable_name_is_refused():
    for name in (["a"], {"b": 1}, 3, None):
        assert "objective" in refusal(least(distill={"temperature": 4, "objective": {"name": name}})).came
    refused = refusal(least(distill={"temperature": 4, "objective": "soft-targets"}))
    assert "a mapping with name: one of" in refused.expected


@pytest.mark.parametrize(
    ("distill", "weights"),
    [
        ({}, (0.1, 0.9)),
        ({"alpha": 0}, (0.0, 1.0)),
        ({"alpha": 1}, (1.0, 0.0)),
        ({"student_weight": 2, "distillation_weight": 3}, (2.0, 3.0)),
    ],
)
def test_alpha_is_sugar_for_two_weights(distill: dict[str, Any], weights: tuple[float, float]):
    assert recipe_from_tree(least(distill=distill), {}, where="r").distill.weights == weights


@pytest.mark.parametrize(
    "distill",
    [
        {"alpha": 1.5},
        {"alpha": -0.1},
        {"alpha": 0.5, "student_weight": 1, "distillation_weight": 1},
        {"student_weight": 1},
        {"student_weight": 0, "distillation_weight": 0},
    ],
)
def test_weights_that_make_no_sense_are_refused(distill: dict[str, Any]):
    assert refusal(least(distill=distill)).came.startswith("r.yaml has an error: distill: ")


def test_further_terms():
    terms = [
        {"weight": 0.5, "objective": {"name": "hard-targets"}},
        {"weight": 1, "objective": {"name": "cross-entropy"}},
    ]
    recipe = recipe_from_tree(least(distill={"terms": terms}), {}, where="r")
    assert [term.objective for term in recipe.distill.terms] == [HardTargets(), CrossEntropy()]
    assert [term.name for term in recipe.distill.loss()] == [
        "student_loss",
        "distillation_loss",
        "term0_hard-targets",
        "term1_cross-entropy",
    ]


def test_changes_of_dotted_keys():
    values = least()
    before = write_yaml(values)
    changes = {
        "distill.temperature": 8,
        "fit.optimizer": {"name": "sgd", "lr": 0.5},
        "fit.optimizer.momentum": 0.5,
        "data.labelled": 30,
        "out": "elsewhere",
    }
    recipe = recipe_from_tree(values, changes, where="r")
    assert recipe.distill.objective == SoftTargets(temperature=8.0)
    assert recipe.fit.optimizer.name == "sgd"
    assert recipe.fit.optimizer.lr == 0.5
    assert recipe.data.labelled == 30
    assert recipe.out == "elsewhere"
    assert write_yaml(values) == before
    assert changes["fit.optimizer"] == {"name": "sgd", "lr": 0.5}


@pytest.mark.parametrize("key", ["fit.epochs.more", "out.x", "proof.seeds.0"])
def test_a_dotted_key_through_a_value_is_refused(key: str):
    assert f"--set {key} goes through" in refusal(least(), {key: 1}).came


# --- what is refused, and how it is said ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("distil.alpha", "distill"),
        ("data.labeled", "labelled"),
        ("data.pth", "path"),
        ("teacher.modle", "model"),
        ("teacher.fit.epoch", "epochs"),
        ("student.model.hiden", "hidden"),
        ("student.preproces", "preprocess"),
        ("distill.temprature", "temperature"),
        ("distill.objective.temprature", "temperature"),
        ("fit.batchsize", "batch_size"),
        ("fit.optimizer.weightdecay", "weight_decay"),
        ("fit.schedule.warm_up", "warmup"),
        ("fit.augment.shfit", "shift"),
        ("proof.seed", "seeds"),
    ],
)
def test_a_misspelt_key_is_named_with_the_nearest(key: str, near: str):
    values = least(
        distill={"objective": {"name": "soft-targets"}},
        fit={"optimizer": {"name": "adamw"}, "schedule": {"name": "cosine"}},
    )
    refused = refusal(values, {key: 1})
    wrong = "distil" if key.startswith("distil.") else key
    assert f"unknown key {wrong} (did you mean {near}?)" in refused.came
    assert near in refused.expected


@pytest.mark.parametrize(
    ("key", "value", "near"),
    [
        ("data.source", "digit", "digits"),
        ("teacher.kind", "trained", "train"),
        ("teacher.model.name", "mpl", "mlp"),
        ("student.model.name", "resnet8", "resnet8x4"),
        ("distill.objective", {"name": "soft-target"}, "soft-targets"),
        ("fit.optimizer.name", "adam", "adamw"),
        ("fit.schedule", {"name": "cosin"}, "cosine"),
        ("distill.terms", [{"weight": 1, "objective": {"name": "hard-target"}}], "hard-targets"),
    ],
)
def test_a_misspelt_name_is_named_with_the_nearest(key: str, value: Any, near: str):
    refused = refusal(least(), {key: value})
    assert f"(did you mean {near}?)" in refused.came
    assert key in refused.came
    assert near in refused.expected
    assert "python" not in refused.expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fit.epochs", "20"),
        ("fit.epochs", 2.5),
        ("fit.epochs", True),
        ("fit.epochs", 0),
        ("fit.optimizer.lr", "1e-3"),
        ("fit.optimizer.lr", 0),
        ("fit.precision", "fp16"),
        ("fit.threads", "all"),
        ("fit.threads", {"a": 1}),
        ("fit.clip", -1),
        ("fit.checkpoint_seconds", math.inf),
        ("fit.optimizer.lr", math.nan),
        ("fit.schedule", "cosine"),
        ("student.model.hidden", 800),
        ("student.model.hidden", ["a"]),
        ("student.preprocess.scale", 0),
        ("data.unlabelled", "no"),
        ("data.labelled", 0),
        ("data.validation", -1),
        ("distill.alpha", "0.1"),
        ("distill.terms", {"weight": 1}),
        ("distill.views", 0),
        ("distill.views", "often"),
        ("proof.seeds", 5),
        ("proof.seeds", []),
        ("proof.seeds", [1, 1]),
        ("proof.seeds", [-1]),
        ("proof.arms", ["distilled", "distilled"]),
        ("proof.arms", ["teacher"]),
        ("proof.on", "validation"),
        ("device", 0),
        ("format", 2),
        ("data", None),
        ("student", []),
    ],
)
def test_a_value_that_does_not_fit_is_named(key: str, value: Any):
    refused = refusal(least(), {key: value})
    assert key.split(".")[0] in str(refused)
    assert key.split(".")[-1] in str(refused)
    assert refused.expected
    assert refused.do


TRAINED = {"kind": "train", "model": {"name": "mlp"}}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([{**TRAINED, "fit": {"epoch": 3}}], "unknown key teacher.members.0.fit.epoch (did you mean epochs?)"),
        ([TRAINED, {**TRAINED, "model": {"name": "mpl"}}], "teacher.members.1.model.name is 'mpl' (did you mean mlp?)"),
        ([{**TRAINED, "kind": "trian"}], "teacher.members.0.kind is 'trian' (did you mean train?)"),
        ([{"kind": "ensemble", "members": [TRAINED]}], "teacher.members.0.kind is 'ensemble'"),
        ([{"kind": "python", "what": "x"}], "teacher.members.0.kind is 'python'"),
        (["runs/x/teacher"], "teacher.members.0 is 'runs/x/teacher'"),
        (TRAINED, "teacher.members is {'kind': 'train'"),
    ],
)
def test_a_mistake_in_a_member_is_named(members: Any, words: str):
    refused = refusal(least(teacher={"kind": "ensemble", "members": members}))
    assert words in refused.came
    assert "python" not in refused.expected


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("student.assistants", [{"name": "mlp", "hiden": [3]}], "student.assistants.0.hiden (did you mean hidden?)"),
        ("student.assistants", [{"name": "mlp"}, {"name": "resnet8"}], "student.assistants.1.name is 'resnet8' (did"),
        ("student.assistants", ["mlp"], "student.assistants.0 is 'mlp'"),
        ("student.assistants", {"name": "mlp"}, "student.assistants is {'name': 'mlp'}"),
        ("student.assistants", [{"name": "python", "what": "x"}], "student.assistants.0.name is 'python'"),
        ("student.generation", 2, "unknown key student.generation (did you mean generations?)"),
        ("student.generations", 2.5, "student.generations is 2.5"),
        ("student.generations", 0, "generations must be 1 or more, not 0"),
    ],
)
def test_a_mistake_in_a_chain_is_named(key: str, value: Any, words: str):
    assert words in refusal(least(), {key: value}).came


@pytest.mark.parametrize("key", ["distill.alpha", "distill.terms.0.weight"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"name": "linaer", "start": 1, "end": 0}, "KEY.name is 'linaer' (did you mean linear?)"),
        ({"start": 1, "end": 0}, "KEY.name is None"),
        ({"name": "linear", "start": 1}, "KEY.end is missing"),
        ({"name": "linear", "start": 1, "end": 0, "stop": 0}, "unknown key KEY.stop"),
        ({"name": "cosine", "start": "1", "end": 0}, "KEY.start is '1'"),
        ({"name": "points"}, "KEY.points is missing"),
        ({"name": "points", "points": [[0, 1], [0.5]]}, "KEY.points.1.1 is missing"),
        ({"name": "points", "points": [[1, 1], [0.5, 0]]}, "points are [share, value] with shares that rise"),
        ([1, 0], "KEY is [1, 0]"),
        ("high", "KEY is 'high'"),
        (True, "KEY is True"),
    ],
)
def test_a_mistake_in_a_schedule_is_named(key: str, value: Any, words: str):
    terms = [{"weight": value, "objective": {"name": "ttm"}}]
    distill = {"alpha": value} if key == "distill.alpha" else {"terms": terms}
    refused = refusal(least(distill=distill))
    assert words.replace("KEY", key) in refused.came
    assert "an error: " in refused.came
    assert refused.came.count("did you mean") == words.count("did you mean")


@pytest.mark.parametrize(
    ("distill", "words"),
    [
        ({"temperature": {"name": "linear", "start": 8, "end": 0}}, "temperature must be"),
        ({"temperature": {"name": "linear", "start": 8, "end": 1}, "distillation_temp": 4}, "temperature and dist"),
        ({"temperature": [8, 1]}, "distill.objective.temperature is [8, 1]"),
        ({"objective": {"name": "hint", "student": "a", "teacher": "b"}}, "hint hears no logits"),
        (
            {"terms": [{"weight": 1, "objective": {"name": "hint", "student": "a"}}]},
            "terms.0.objective.teacher is miss",
        ),
    ],
)
def test_a_loss_that_makes_no_sense_is_refused(distill: dict[str, Any], words: str):
    assert words in refusal(least(distill=distill)).came


def test_what_is_new_in_a_recipe_is_written_as_it_is_read():
    linear = {"name": "linear", "start": 0.9, "end": 0.1}
    hint = {"name": "hint", "student": "conv1", "teacher": "conv1"}
    values = least(
        teacher={"kind": "ensemble", "members": [TRAINED, {"kind": "saved", "path": "T"}], "weights": [2, 1]},
        student={"model": {"name": "mlp"}, "assistants": [{"name": "convnet"}], "generations": 2},
        distill={
            "alpha": linear,
            "temperature": {"name": "cosine", "start": 8, "end": 1},
            "terms": [
                {"weight": {"name": "points", "points": [[0, 1], [1, 0]]}, "objective": {"name": "ttm"}},
            ],
        },
    )
    recipe = recipe_from_tree(values, {}, where="r")
    assert recipe.student.chain == (ConvNet(), Mlp())
    assert recipe_from_tree(tree_of(recipe), {}, where="r") == recipe
    assert read(write_yaml(tree_of(recipe))) == recipe
    alone = recipe_from_tree(least(distill={"terms": [{"weight": 1, "objective": hint}]}), {}, where="r")
    assert alone.distill.teacher_taps == ("conv1",)
    assert read(write_yaml(tree_of(alone))) == alone


def test_a_key_that_lacks_is_named():
    values = least()
    del values["student"], values["data"]["path"]
    refused = refusal(values)
    assert "2 errors" in refused.came
    assert "student is missing" in refused.came
    assert "data.path is missing" in refused.came


def test_a_message_stays_short():
    refused = refusal(least(), {"student.model.hidden": ["x" * 5000] * 3000})
    assert "3000 errors" in refused.came
    assert len(str(refused)) < 2000


def test_no_recipe_at_all():
    assert refusal(None).came == "r.yaml is empty"
    assert refusal([1]).came == "r.yaml holds one list"
    assert refusal("text").came == "r.yaml holds one str"
    assert "6 errors" not in refusal({}).came
    assert "data is missing" in refusal({}).came


@pytest.mark.parametrize("values", [{("a", "b"): 1}, {1: 2}, {None: 1}, {"fit": {True: 1}}])
def test_keys_are_names(values: Any):
    assert "has the key" in refusal({**least(), **values}).came


def test_doubts_that_are_not_stored_cannot_be_shuffled():
    values = least(distill={"views": "live"}, proof={"arms": ["distilled", "shuffled-teacher"]})
    assert "shuffled-teacher permutes stored signals" in refusal(values).came


def test_stored_views_need_something_that_makes_them():
    assert "fit.augment makes no views" in refusal(least(distill={"views": 4})).came
    recipe_from_tree(least(distill={"views": 4}, fit={"augment": {"shift": 1}}), {}, where="here")


def test_mixes_are_not_answered_by_what_was_said_of_a_plain_example():
    mixes = {"augment": {"mixup": 0.2}}
    assert "that about a plain example" in refusal(least(fit=mixes)).came
    for views in (2, "live"):
        recipe_from_tree(least(fit=mixes, distill={"views": views}), {}, where="here")
    deaf = least(fit=mixes, proof={"arms": ["scratch", "label-smoothing"]})
    recipe_from_tree(deaf, {}, where="here")
    assert "that about a plain example" in refusal(deaf, {"student.generations": 2}).came


def test_a_recipe_that_does_not_exist(tmp_path: Path):
    with pytest.raises(RecipeError, match="No such file"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="Is a directory"):
        read_recipe(tmp_path)


def test_paths_of_users(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert path_of("~/runs", "out") == Path("/home/me/runs")
    for text in ("~nobody-of-this-name/runs", "a\0b"):
        with pytest.raises(RecipeError, match="out is '"):
            path_of(text, "out")


def test_stored_features_of_plain_examples_are_refused_for_augmented_students():
    """A mirrored image beside the features of the plain one teaches the wrong place."""
    given_tree = parse_yaml(DESIGN, where="here")
    changes = {
        "student.model": {"name": "convnet"},
        "fit.augment": {"flip": True},
        "distill.terms": [{"weight": 1, "objective": {"name": "hint", "student": "conv1", "teacher": "conv1"}}],
    }
    with pytest.raises(RecipeError, match="stored features are those of the plain example: set"):
        recipe_from_tree(given_tree, changes, where="here")
    for views in ("live", 2):
        recipe_from_tree(given_tree, {**changes, "distill.views": views}, where="here")
    recipe_from_tree(given_tree, {**changes, "fit.augment": {}}, where="here")
