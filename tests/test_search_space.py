"""What a recipe may say under `tune`, and what it is told where it is wrong."""

import math
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import RecipeError
from limbeck.models import Mlp
from limbeck.objectives import CATALOGUE, SoftTargets
from limbeck.recipe import Recipe, recipe_from_tree, tree_of
from limbeck.recipe_text import parse_yaml, write_yaml
from limbeck.search_space import Alternative, Choices, Interval, Tune, alternatives
from running import tree


def recipe_with(tune: Any, **changes: Any) -> Recipe:
    return recipe_from_tree({**tree(Path("DATA"), "runs/x"), "tune": tune, **changes}, {}, where="r.yaml")


def refusal(tune: Any, **changes: Any) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        recipe_with(tune, **changes)
    assert "an error: " in caught.value.came
    return caught.value


def test_no_search_is_declared_unless_one_is():
    assert recipe_from_tree(tree(Path("DATA"), "runs/x"), {}, where="r.yaml").tune is None
    assert recipe_with({}).tune == Tune()


def test_a_search_is_written_as_it_is_read():
    recipe = recipe_with(
        {
            "temperature": [1, 20],
            "lr": [1e-4, 1e-2],
            "objective": ["dkd", {"name": "ttm", "exponent": [0.1, 1], "weighted": [False, True]}],
            "student": [{"name": "mlp", "hidden": [16]}, {"name": "convnet"}],
            "storage": "postgresql://me@host:5433/base",
            "jobs": 3,
        }
    )
    assert recipe.tune is not None
    assert recipe.tune.temperature == (1.0, 20.0)
    assert recipe.tune.objective == ("dkd", {"name": "ttm", "exponent": (0.1, 1), "weighted": (False, True)})
    assert recipe.tune.student[0] == Mlp(hidden=(16,))
    again = recipe_from_tree(parse_yaml(write_yaml(tree_of(recipe)), where="r"), {}, where="r")
    assert again == recipe


@pytest.mark.parametrize(
    ("tune", "words"),
    [
        ({"trils": 3}, "unknown key tune.trils (did you mean trials?)"),
        ({"trials": 0}, "trials must be above 0, not 0"),
        ({"most_parameters": -1}, "most_parameters must be above 0, not -1"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"temperature": 4}, "tune.temperature: a range is two numbers, [low, high], not 4"),
        ({"temperature": [1, 2, 3]}, "not [1, 2, 3]"),
        ({"temperature": ["x" * 5000]}, "a range is two numbers"),
        ({"temperature": ["a", 3]}, "tune.temperature.0 is 'a'"),
        ({"temperature": [4, 2]}, "the first smaller, not [4.0, 2.0]"),
        ({"temperature": [0, 2]}, "begins above 0, not at 0"),
        ({"temperature": [1, 1e9]}, "temperature must be a positive number, 0.001 to 1e+06"),
        ({"lr": [0, 1]}, "begins above 0, not at 0"),
        ({"alpha": [0, 2]}, "alpha is a share, from 0 to 1, not [0.0, 2.0]"),
        ({"student": [{"name": "mpl"}]}, "tune.student.0.name is 'mpl' (did you mean mlp?)"),
        ({"student": [{"name": "mlp", "hiden": [3]}]}, "unknown key tune.student.0.hiden (did you mean hidden?)"),
        ({"student": [{"name": "python", "what": "x"}]}, "tune.student.0.name is 'python'"),
        ({"student": [{"name": "mlp"}, {"name": "mlp"}]}, "student names one model twice"),
        ({"objective": "dkd"}, "tune.objective is 'dkd'"),
        ({"objective": [3]}, "an objective is a name, or a mapping with name and settings, not 3"),
        ({"objective": [{"temperature": 3}]}, "a mapping with name and settings, not {'temperature': 3}"),
        ({"objective": ["dkdd"]}, "objective 'dkdd' (did you mean dkd?) is none of those that hear logits: soft-"),
        ({"objective": ["hint"]}, "objective 'hint' is none of those that hear logits"),
        ({"objective": ["cross-entropy"]}, "objective 'cross-entropy' is none of those that hear logits"),
        ({"objective": ["dkd", {"name": "dkd"}]}, "objective names one twice"),
        ({"objective": [{"name": "dkd", "temprature": 3}]}, "unknown key temprature (did you mean temperature?)"),
        ({"objective": [{"name": "dkd", "temperature": "x"}]}, "dkd has an error: temperature is 'x'"),
        ({"objective": [{"name": "dkd", "temperature": {"name": "linear"}}]}, "dkd has an error: temperature is {"),
        ({"objective": [{"name": "dkd", "temperature": [0, 2]}]}, "dkd.temperature is searched on a logarithmic"),
        ({"objective": [{"name": "dkd", "target_weight": [3, 2]}]}, "dkd.target_weight is a range"),
        ({"objective": [{"name": "dkd", "target_weight": [-1, 2]}]}, "target_weight must be 0 or a positive number"),
        ({"objective": [{"name": "dkd", "target_weight": []}]}, "dkd.target_weight is a list of choices"),
        ({"objective": [{"name": "dkd", "target_weight": [1, 1, 2]}]}, "dkd.target_weight is a list of choices"),
        ({"objective": [{"name": "soft-targets", "beta": [None, 0.5]}]}, "none of them null"),
        ({"objective": [{"name": "ttm", "weighted": [0, 1]}]}, "ttm has an error: weighted is 0"),
        ({"objective": [{"name": "soft-targets", "divergence": ["jsd", "kl"]}]}, "divergence is 'kl'"),
        ({"objective": [{"name": "soft-targets", "divergence": ["jsd", "forward-kl"], "beta": 0.3}]}, "beta belongs"),
        (
            {"objective": [{"name": "dkd", "target_weight": [0, 1], "non_target_weight": [0, 2]}]},
            "must not both be 0",
        ),
        ({"temperature": None, "alpha": None}, "tune has nothing to vary"),
        (
            {"temperature": None, "alpha": None, "student": [{"name": "mlp"}], "objective": ["dkd"]},
            "tune has nothing to vary",
        ),
        ({"alpha": None, "objective": ["hard-targets"]}, "tune has nothing to vary"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_words(tune: Any, words: str):
    refused = refusal(tune)
    assert words in refused.came
    assert refused.came.count("did you mean") == words.count("did you mean")
    assert len(str(refused)) < 1000


scalars = (
    st.none() | st.booleans() | st.integers(-2, 30) | st.floats(-1, 30) | st.sampled_from(["jsd", "mlp", "auto", ""])
)
names = st.sampled_from([*CATALOGUE, "x", 3])
keys = st.sampled_from(["temperature", "divergence", "beta", "target_weight", "weighted", "standardise", "x"])
lists = st.lists(scalars, max_size=4)
written = st.dictionaries(keys, scalars | lists | st.lists(lists, max_size=1), max_size=3)
searches = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys([field.name for field in fields(Tune)], scalars | lists | written),
        "objective": st.lists(names | st.builds(lambda name, rest: {**rest, "name": name}, names, written), max_size=3),
        "student": st.lists(scalars | st.just({"name": "mlp"}) | written, max_size=2),
    },
)


@given(searches)
@settings(max_examples=200, deadline=None)
def test_any_search_is_read_or_refused(tune: Any):
    with suppress(RecipeError):
        assert recipe_with(tune).tune is not None


@pytest.mark.parametrize("key", ["trials", "prune", "jobs", "most_latency", "storage", "objective"])
def test_a_key_of_the_wrong_type_is_named(key: str):
    assert f"tune.{key} is {{'a': 1}}" in refusal({key: {"a": 1}}).came


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("study.db", "storage is 'study.db': a URL such as postgresql://"),
        ("postgres://me@host/base", "storage begins with postgres (did you mean postgresql?): a URL"),
        ("oracle://me@host/base", "storage begins with oracle: a URL"),
        ("postgresql://me@host", "storage names no database"),
        ("sqlite://", "storage names no database"),
        ("sqlite:///:memory:", "storage names no database"),
        ("postgresql://[::1/base", "storage is no URL"),
        ("postgresql://me:secret@host/base", "storage holds a password"),
        ("postgresql://me:@host/base", "storage holds a password"),
        ("postgresql://host/base?user=me&password=secret", "storage holds a password"),
        ("mysql+pymysql://me@host/base?passwd=secret", "storage holds a password"),
    ],
)
def test_a_url_that_will_not_do_is_refused_without_its_secret(url: str, words: str):
    refused = refusal({"storage": url})
    assert words in refused.came
    assert "secret" not in str(refused)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host/base",
        "postgresql+psycopg://me@host:5433/base",
        "mysql://me@host/base?read_default_file=~/.my.cnf",
        "sqlite:///study.db",
    ],
)
def test_a_url_of_a_database_is_taken(url: str):
    tune = recipe_with({"storage": url}).tune
    assert tune is not None
    assert tune.storage == url


# --- beside the rest of a recipe -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tune", "taken"),
    [
        ({}, False),
        ({"temperature": None}, True),
        ({"temperature": None, "objective": ["dkd", "soft-targets"]}, False),
    ],
)
def test_a_kept_tail_is_at_no_other_temperature(tune: Any, taken: bool):
    labels = {"encoding": "top-k", "k": 2}
    if taken:
        recipe_with(tune, labels=labels)
    else:
        assert "set labels.encoding: auto" in refusal(tune, labels=labels).came


def test_a_search_without_temperature_bears_a_kept_tail():
    recipe_with({}, labels={"encoding": "top-k", "k": 2}, distill={"objective": {"name": "hard-targets"}})


@pytest.mark.parametrize("chain", [{"assistants": [{"name": "mlp"}]}, {"generations": 2}])
def test_a_search_trains_no_chains(chain: Any):
    refused = refusal({}, student={"model": {"name": "mlp"}, **chain})
    assert "leave out student.assistants and student.generations, or tune" in refused.came


# --- what is searched ------------------------------------------------------------------------------------------------


def test_without_alternatives_the_objective_is_the_recipes_own():
    own = SoftTargets(temperature=3.0, divergence="jsd", beta=0.2)
    (one,) = alternatives(Tune(), own)
    assert one.fixed == {"name": "soft-targets", "standardise": False, "divergence": "jsd", "beta": 0.2}
    assert one.searched == {"temperature": ("temperature", Interval(low=0.5, high=20.0, log=True))}
    (fixed,) = alternatives(Tune(temperature=None), own)
    assert fixed.fixed["temperature"] == 3.0
    assert not fixed.searched


def test_an_alternative_keeps_what_it_says_and_varies_what_is_a_list():
    soft, dkd, ttm, hard = alternatives(
        Tune(
            objective=(
                "soft-targets",
                {"name": "dkd", "temperature": [2, 8], "target_weight": 2, "non_target_weight": [4]},
                {"name": "ttm", "exponent": [0.1, 1], "weighted": [False, True]},
                "hard-targets",
            )
        ),
        SoftTargets(),
    )
    assert soft.searched == {"temperature": ("temperature", Interval(low=0.5, high=20.0, log=True))}
    assert dkd.searched == {"temperature": ("dkd.temperature", Interval(low=2, high=8, log=True))}
    assert dkd.fixed == {"name": "dkd", "target_weight": 2, "non_target_weight": 4}
    assert ttm.searched == {
        "exponent": ("ttm.exponent", Interval(low=0.1, high=1)),
        "weighted": ("ttm.weighted", Choices(values=(False, True))),
    }
    assert hard == Alternative(name="hard-targets", fixed={"name": "hard-targets"}, searched={})


@dataclass(frozen=True, kw_only=True)
class Deep:
    """An objective with a setting that is a whole number."""

    name: Literal["deep"] = "deep"
    depth: int = 2
    traits: ClassVar[Any] = SoftTargets.traits


def test_whole_numbers_stay_whole(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(CATALOGUE, "deep", Deep)
    (deep,) = alternatives(Tune(objective=({"name": "deep", "depth": [1, 6]},)), SoftTargets())
    assert deep.searched["depth"] == ("deep.depth", Interval(low=1, high=6, whole=True))
    assert Interval(low=1, high=6, whole=True).near(3.2) == 3
    assert "deep has an error: depth is 1.5" in refusal({"objective": [{"name": "deep", "depth": [1.5, 3]}]}).came


@given(st.floats(1e-6, 1e3), st.floats(1.001, 1e4), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_a_number_is_tried_near_itself_and_never_outside(low: float, factor: float, share: float):
    interval = Interval(low=low, high=low * factor, log=True)
    value = low + share * (interval.high - low)
    assert interval.holds(interval.near(value))
    assert interval.near(value) == pytest.approx(value, rel=0.005)
    assert interval.holds(interval.middle)
    assert interval.middle == pytest.approx(math.sqrt(interval.low * interval.high), rel=0.005)


def test_a_range_holds_numbers_and_choices_hold_their_own():
    assert Interval(low=0, high=1).holds(1)
    assert not Interval(low=0, high=1).holds(True)
    assert not Interval(low=0, high=1).holds("auto")
    assert not Interval(low=0, high=1).holds(1.01)
    assert Interval(low=0, high=1).middle == 0.5
    assert Choices(values=("a", "b")).middle == "a"
    assert not Choices(values=("a", "b")).holds("c")
