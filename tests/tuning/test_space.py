"""What a search suggests lies in its space, and is what the recipe of the trial then holds."""

import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import RecipeError
from limbeck.models import Mlp, ResNet
from limbeck.objectives import DKD, TTM, SoftTargets
from limbeck.recipe import GivenModel, Recipe, recipe_from_tree, tree_of
from limbeck.tuning.space import KNOWN, Space, label_of
from running import tree

WIDE: dict[str, Any] = {
    "lr": [1e-4, 1e-1],
    "objective": [
        "soft-targets",
        {"name": "dkd", "temperature": [2, 8], "target_weight": 1, "non_target_weight": [1, 16]},
        {"name": "ttm", "exponent": [0.05, 1], "weighted": [False, True]},
        "hard-targets",
    ],
    "student": [{"name": "mlp", "hidden": [16]}, {"name": "mlp", "hidden": [32, 32], "dropout": 0.5}],
}
"""A space in which everything varies."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def recipe_with(tune: Any, **changes: Any) -> Recipe:
    return recipe_from_tree({**tree(Path("DATA"), "runs/x"), "tune": tune, **changes}, {}, where="r.yaml")


def space_of(tune: Any, **changes: Any) -> Space:
    return Space.of(recipe_with(tune, **changes))


def applied(space: Space, setting: dict[str, Any]) -> Recipe:
    return recipe_from_tree(tree_of(space.recipe), space.changes(setting), where="the trial")


def study_of(seed: int = 0) -> optuna.Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=4, group=True)
    return optuna.create_study(sampler=sampler, direction="maximize")


def tried(space: Space, trials: int, seed: int = 0) -> list[dict[str, Any]]:
    study = study_of(seed)
    found = []
    for number in range(trials):
        trial = study.ask()
        found.append(space.suggest(trial))
        study.tell(trial, number % 7)
    return found


# --- what is suggested -----------------------------------------------------------------------------------------------


@given(st.integers(0, 2**31))
@settings(max_examples=8, deadline=None)
def test_a_trial_has_what_its_setting_says_and_no_more(seed: int):
    space = space_of(WIDE)
    unchanged = ("data", "teacher", "labels", "proof", "device", "out", "tune")
    for setting in tried(space, 8, seed):
        recipe = applied(space, setting)
        for name in unchanged:
            assert getattr(recipe, name) == getattr(space.recipe, name)
        assert recipe.distill.alpha == setting["alpha"]
        assert recipe.fit == replace(space.recipe.fit, optimizer=replace(space.recipe.fit.optimizer, lr=setting["lr"]))
        assert label_of(recipe.student.model) == setting["student"]
        expected: Any = {
            "soft-targets": lambda s: SoftTargets(temperature=s["temperature"]),
            "dkd": lambda s: DKD(temperature=s["dkd.temperature"], non_target_weight=s["dkd.non_target_weight"]),
            "ttm": lambda s: TTM(exponent=s["ttm.exponent"], weighted=s["ttm.weighted"]),
            "hard-targets": lambda s: None,
        }[setting["objective"]](setting)
        assert recipe.distill.objective.name == setting["objective"]
        assert expected is None or recipe.distill.objective == expected
        own = {"soft-targets": 1, "dkd": 2, "ttm": 2, "hard-targets": 0}[setting["objective"]]
        assert len(setting) == 4 + own


def test_numbers_have_three_digits_and_stay_in_their_range():
    space = space_of({"temperature": [1.2345, 1.2399], "alpha": [0.10004, 0.10006], "lr": [1e-4, 1e-1]})
    for setting in tried(space, 30):
        assert 1.2345 <= setting["temperature"] <= 1.2399
        assert 0.10004 <= setting["alpha"] <= 0.10006
        assert 1e-4 <= setting["lr"] <= 1e-1
        assert setting["lr"] == float(f"{setting['lr']:.3g}")


def test_the_same_seed_suggests_the_same():
    space = space_of(WIDE)
    assert tried(space, 12, seed=3) == tried(space, 12, seed=3)
    assert tried(space, 12, seed=3) != tried(space, 12, seed=4)


def test_what_is_queued_comes_back_as_it_is():
    student = {"model": WIDE["student"][1]}
    space = space_of(WIDE, distill={"objective": {"name": "ttm", "exponent": 0.123456}}, student=student)
    own = space.own()
    assert own is not None
    assert own["ttm.exponent"] == 0.123
    study = study_of()
    settings_ = [own, *space.known(), *tried(space, 20, seed=1)]
    for setting in settings_:
        study.enqueue_trial(space.queued(setting))
    for setting in settings_:
        trial = study.ask()
        assert space.suggest(trial) == setting
        assert trial.params == setting
        study.tell(trial, 0.5)


def test_only_what_is_searched_is_in_a_setting():
    (setting,) = tried(space_of({"alpha": None}), 1)
    assert list(setting) == ["temperature"]
    (setting,) = tried(space_of({"student": [{"name": "convnet"}]}), 1)
    assert list(setting) == ["temperature", "alpha"]
    (setting,) = tried(space_of({"objective": [{"name": "dkd", "temperature": 2}]}), 1)
    assert list(setting) == ["alpha"]


# --- what it makes of the recipe -------------------------------------------------------------------------------------


def test_weights_and_schedules_give_way():
    linear = {"name": "linear", "start": 8, "end": 1}
    space = space_of({}, distill={"temperature": linear, "student_weight": 2, "distillation_weight": 3})
    distill = applied(space, {"temperature": 2.5, "alpha": 0.3}).distill
    assert distill.weights == (0.3, 0.7)
    assert distill.temperature is None
    assert distill.objective == SoftTargets(temperature=2.5)


def test_what_is_not_searched_stays():
    linear = {"name": "linear", "start": 8, "end": 1}
    weights = {"student_weight": 2, "distillation_weight": 3}
    space = space_of(
        {"temperature": None, "alpha": None, "lr": [1e-4, 1e-1]}, distill={"temperature": linear, **weights}
    )
    assert applied(space, {"lr": 0.01}).distill == space.recipe.distill
    space = space_of({}, distill={"objective": {"name": "soft-targets", "divergence": "jsd", "beta": 0.2}})
    changed = applied(space, {"temperature": 2.5, "alpha": 0.3}).distill.objective
    assert changed == SoftTargets(temperature=2.5, divergence="jsd", beta=0.2)


def test_one_alternative_takes_the_place_of_the_recipes_own():
    linear = {"name": "linear", "start": 8, "end": 1}
    space = space_of(
        {"objective": ["dkd"], "temperature": None, "student": [{"name": "mlp", "hidden": [7]}]},
        distill={"temperature": linear},
    )
    recipe = applied(space, {"alpha": 0.3})
    assert recipe.distill.objective == DKD()
    assert recipe.distill.temperature is None
    assert recipe.student.model == Mlp(hidden=(7,))
    assert space.student_of({"alpha": 0.3}) == "mlp(hidden 7)"


def test_an_alternative_is_complete_whatever_the_recipe_says_of_its_objective():
    space = space_of(
        {"objective": ["dkd", "ttm"]}, distill={"objective": {"name": "dkd", "non_target_weight": 2, "temperature": 9}}
    )
    made = applied(space, {"objective": "dkd", "temperature": 3.0, "alpha": 0.3})
    assert made.distill.objective == DKD(temperature=3.0)
    assert space.own() is None


# --- the recipe's own, known and guessed settings --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tune", "distill", "own"),
    [
        ({}, {}, {"temperature": 4.0, "alpha": 0.1}),
        ({}, {"temperature": 3.4567, "alpha": 0.25}, {"temperature": 3.46, "alpha": 0.25}),
        ({}, {"student_weight": 0.3, "distillation_weight": 0.7}, {"temperature": 4.0, "alpha": 0.3}),
        ({}, {"student_weight": 3, "distillation_weight": 7}, None),
        ({"alpha": None}, {"student_weight": 3, "distillation_weight": 7}, {"temperature": 4.0}),
        ({}, {"alpha": {"name": "linear", "start": 1, "end": 0}}, None),
        ({}, {"temperature": {"name": "linear", "start": 4, "end": 1}}, None),
        ({"temperature": None}, {"temperature": {"name": "linear", "start": 4, "end": 1}}, {"alpha": 0.1}),
        ({}, {"temperature": 25}, None),
        ({}, {"temperature": "auto"}, None),
        ({}, {"alpha": "auto"}, None),
        ({"alpha": None}, {"alpha": "auto"}, {"temperature": 4.0}),
        ({"temperature": None}, {"temperature": "auto"}, {"alpha": 0.1}),
        ({}, {"alpha": 0, "objective": {"name": "hard-targets"}}, {"alpha": 0.0}),
        ({"alpha": [0.2, 1]}, {}, None),
        ({"lr": [1e-2, 1e-1]}, {}, {"temperature": 4.0, "alpha": 0.1, "lr": 0.01}),
        ({"objective": ["dkd"]}, {}, None),
        ({"objective": ["dkd", "soft-targets"]}, {}, {"temperature": 4.0, "alpha": 0.1, "objective": "soft-targets"}),
        ({"objective": [{"name": "soft-targets", "divergence": "jsd"}]}, {}, None),
        (
            {"objective": [{"name": "soft-targets", "divergence": ["forward-kl", "jsd"]}]},
            {"objective": {"name": "soft-targets", "divergence": "jsd"}},
            {"temperature": 4.0, "alpha": 0.1, "soft-targets.divergence": "jsd"},
        ),
        (
            {"objective": [{"name": "dkd", "target_weight": 0, "non_target_weight": [1, 2]}]},
            {"objective": {"name": "dkd", "target_weight": 1, "non_target_weight": 0}},
            None,
        ),
        ({"student": [{"name": "convnet"}, {"name": "mlp"}]}, {}, None),
    ],
)
def test_the_recipes_own_setting(tune: Any, distill: Any, own: Any):
    space = space_of(tune, distill=distill, fit={"optimizer": {"name": "adamw", "lr": 0.01}})
    assert space.own() == own
    if own is not None and all(value not in (3.4567, "auto") for value in distill.values()):
        assert applied(space, own).distill.loss() == space.recipe.distill.loss()


def test_a_model_of_the_recipe_is_its_own_student_where_it_is_among_the_alternatives():
    models = [{"name": "convnet"}, asdict(recipe_with(None).student.model)]
    own = space_of({"student": models}).own()
    assert own is not None
    assert own["student"] == label_of(recipe_with(None).student.model)


def test_the_first_four_known_settings_have_every_temperature_and_both_alphas():
    known = space_of({}).known()
    assert [(one["temperature"], one["alpha"]) for one in known] == list(KNOWN)
    assert {one["temperature"] for one in known[:4]} == {1.0, 2.0, 4.0, 8.0}
    assert {one["alpha"] for one in known[:4]} == {0.1, 0.5}
    assert len(known) == 8


@pytest.mark.parametrize(
    ("tune", "known"),
    [
        ({"temperature": None}, [{"alpha": 0.1}, {"alpha": 0.5}]),
        ({"alpha": None}, [{"temperature": t} for t in (4.0, 2.0, 8.0, 1.0)]),
        ({"temperature": [3, 5]}, [{"temperature": 4.0, "alpha": 0.1}, {"temperature": 4.0, "alpha": 0.5}]),
        ({"temperature": [11, 20]}, []),
        ({"temperature": None, "alpha": None, "lr": [1e-4, 1e-2]}, []),
    ],
)
def test_known_settings_are_in_the_space(tune: Any, known: Any):
    assert space_of(tune).known() == known


def test_all_else_of_a_known_setting_is_the_recipes_own_or_a_default_or_the_middle():
    tune = {**WIDE, "objective": [*WIDE["objective"], {"name": "nkd", "non_target_weight": [4, 16]}]}
    fit = {"optimizer": {"name": "adamw", "lr": 0.02}}
    first = space_of(tune, fit=fit).known()[0]
    assert first == {
        "temperature": 4.0,
        "alpha": 0.1,
        "lr": 0.02,
        "objective": "soft-targets",
        "student": "mlp(hidden 16)",
    }
    own = {"objective": {"name": "dkd", "non_target_weight": 2}}
    assert space_of(tune, distill=own).known()[0] == {
        "alpha": 0.1,
        "lr": 0.01,
        "objective": "dkd",
        "dkd.temperature": 4.0,
        "dkd.non_target_weight": 2.0,
        "student": "mlp(hidden 16)",
    } | {"lr": recipe_with(None).fit.optimizer.lr}
    far = space_of({**tune, "lr": [1e-4, 1e-3]}, fit=fit, distill={"objective": {"name": "nkd"}}).known()[0]
    assert far["nkd.non_target_weight"] == 10.0  # its default, 1.5, is outside
    assert far["lr"] == 0.000316


def test_a_guess_is_a_setting_where_it_lies_in_the_space():
    assert space_of({}).with_guess(2.3456, 0.4) == {"temperature": 2.35, "alpha": 0.4}
    assert space_of({}).with_guess(25.0, 0.4) is None
    assert space_of({"temperature": None}).with_guess(25.0, 0.4) == {"alpha": 0.4}
    assert space_of({"temperature": None, "alpha": None, "lr": [1e-4, 1e-2]}).with_guess(2.0, 0.4) is None


# --- facts -----------------------------------------------------------------------------------------------------------


def test_the_facts_of_a_space():
    assert space_of({}).facts() == {
        "temperature": {"low": 0.5, "high": 20.0, "log": True},
        "alpha": {"low": 0.0, "high": 1.0, "log": False},
    }
    assert space_of(WIDE).facts() == {
        "temperature": {"low": 0.5, "high": 20.0, "log": True},
        "alpha": {"low": 0.0, "high": 1.0, "log": False},
        "lr": {"low": 1e-4, "high": 1e-1, "log": True},
        "objective": {"choices": ["soft-targets", "dkd", "ttm", "hard-targets"]},
        "dkd.temperature": {"low": 2, "high": 8, "log": True},
        "dkd.non_target_weight": {"low": 1, "high": 16, "log": False},
        "ttm.exponent": {"low": 0.05, "high": 1, "log": False},
        "ttm.weighted": {"choices": [False, True]},
        "student": {"choices": ["mlp(hidden 16)", "mlp(hidden 32 32, dropout 0.5)"]},
    }


def test_another_fixed_setting_is_another_identity():
    one, other = (space_of({"objective": [{"name": "dkd", "target_weight": weight}, "ttm"]}) for weight in (1, 2))
    assert one.facts() == other.facts()
    assert one.identity() != other.identity()


def test_a_recipe_without_a_search_has_that_of_the_defaults():
    recipe = recipe_from_tree(tree(Path("DATA"), "runs/x"), {}, where="r.yaml")
    assert Space.of(recipe).facts() == space_of({}).facts()
    chained = recipe_from_tree(tree_of(recipe), {"student.generations": 2}, where="r.yaml")
    with pytest.raises(RecipeError, match="leave out"):
        Space.of(chained)


def test_a_label_says_what_is_not_the_default():
    assert label_of(Mlp()) == "mlp"
    assert label_of(Mlp(hidden=(32,), dropout=0.25)) == "mlp(hidden 32, dropout 0.25)"
    assert label_of(ResNet(name="resnet20")) == "resnet20"
    assert label_of(GivenModel(what="my network")) == "my network"
