"""Every objective of the catalogue keeps every promise that its traits imply."""

import dataclasses

import pytest
from definitions import features, logits, relations

from limbeck.objectives import CATALOGUE
from limbeck.testing import PROMISES, check_definition

DEFINED = [*logits.DEFINED, *features.DEFINED, *relations.DEFINED]


def described(objective):
    """The objective's name and the settings that are not its defaults."""
    chosen = [
        f"{field.name}={getattr(objective, field.name)}"
        for field in dataclasses.fields(objective)
        if field.name != "name" and getattr(objective, field.name) != field.default
    ]
    return "-".join([objective.name, *chosen])


def test_the_whole_catalogue_is_held_to_the_contract():
    assert {type(objective) for objective, _ in DEFINED} == set(CATALOGUE.values())


def test_no_setting_is_held_to_two_definitions():
    assert len({objective for objective, _ in DEFINED}) == len(DEFINED)


@pytest.mark.parametrize(
    ("promise", "objective"),
    [
        pytest.param(promise, objective, id=f"{promise.name}-{described(objective)}")
        for promise in PROMISES
        for objective, _ in DEFINED
        if promise.applies(objective)
    ],
)
def test_it_keeps_its_promises(promise, objective):
    promise(objective)


@pytest.mark.parametrize(("objective", "definition"), [pytest.param(*pair, id=described(pair[0])) for pair in DEFINED])
def test_it_is_what_its_paper_defines(objective, definition):
    check_definition(objective, definition)


def test_every_promise_is_asked_of_some_objective():
    for promise in PROMISES:
        assert any(promise.applies(objective) for objective, _ in DEFINED), promise.name


# --------------------------------------------------------------- what an entry says of itself


@pytest.mark.parametrize("objective", [pytest.param(objective, id=described(objective)) for objective, _ in DEFINED])
def test_it_is_frozen_and_keyword_only(objective):
    with pytest.raises(dataclasses.FrozenInstanceError):
        objective.name = "other"
    with pytest.raises(TypeError):
        type(objective)(objective.name)


@pytest.mark.parametrize(("name", "kind"), CATALOGUE.items(), ids=list(CATALOGUE))
def test_it_says_what_it_is_where_it_comes_from_and_what_it_costs(name, kind):
    first, *_ = dataclasses.fields(kind)
    assert (first.name, first.default) == ("name", name)
    assert kind.__doc__.splitlines()[0].endswith("."), "limbeck list objectives prints the first line"
    assert kind.traits.paper
    assert kind.traits.formula
    assert kind.traits.cost
