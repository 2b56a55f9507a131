"""The contract suite can fail: every mutant dies, of the promises it breaks and of no others."""

import inspect
import re
import subprocess
import sys

import pytest
import torch

from limbeck import testing
from limbeck.objectives import CATALOGUE, VID, CrossEntropy, Hint, SoftTargets
from limbeck.training.step import add_gradients
from mutants import features, logits, more_logits, relations, steps
from objectives.definitions import features as defined_features
from objectives.definitions import logits as defined_logits
from objectives.definitions import relations as defined_relations

DEFINITIONS = dict([*defined_logits.DEFINED, *defined_features.DEFINED, *defined_relations.DEFINED])
KILLED_BY = logits.KILLED_BY | more_logits.KILLED_BY | features.KILLED_BY | relations.KILLED_BY


@pytest.mark.parametrize("mutant", KILLED_BY, ids=lambda mutant: f"{mutant.__module__}.{mutant.__name__}")
def test_a_mutant_of_an_objective_dies_of_the_promises_it_breaks(mutant):
    broken = testing.broken_promises(mutant(), DEFINITIONS[mutant.spoils])
    assert set(broken) == KILLED_BY[mutant], "\n".join(broken.values())
    for name, message in broken.items():
        assert message.startswith(f"{mutant()} breaks its promise {name!r}: ")


@pytest.mark.parametrize("mutant", steps.KILLED_BY, ids=lambda mutant: mutant.__name__)
def test_a_mutant_of_the_step_dies_of_the_promises_it_breaks(mutant):
    broken = testing.broken_step_promises(mutant)
    assert set(broken) == steps.KILLED_BY[mutant], "\n".join(broken.values())


@pytest.mark.parametrize("file", [logits, more_logits, features, relations], ids=lambda file: file.__name__)
def test_no_mutant_of_an_objective_is_left_out(file):
    """A class that others in the file derive from is what they share, and no mutant."""
    own = {thing for thing in vars(file).values() if inspect.isclass(thing) and thing.__module__ == file.__name__}
    shared = {base for mutant in own for base in mutant.__mro__[1:]}
    assert set(file.KILLED_BY) == own - shared


def test_no_mutant_of_the_step_is_left_out():
    functions = {thing for thing in vars(steps).values() if inspect.isfunction(thing)}
    assert set(steps.KILLED_BY) == {step for step in functions if [*inspect.signature(step).parameters][-1] == "bf16"}


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_objective_has_two_mutants_that_die(name):
    mutants = [mutant for mutant in KILLED_BY if mutant.spoils.name == name]
    assert len(mutants) >= 2
    assert all(KILLED_BY[mutant] for mutant in mutants)


def test_every_promise_kills_some_mutant():
    """A promise that has never failed has not been shown to be one."""
    assert set().union(*KILLED_BY.values()) == {
        *(promise.name for promise in testing.PROMISES),
        "matches_the_definition",
    }
    assert set().union(*steps.KILLED_BY.values()) == {promise.name for promise in testing.STEP_PROMISES}


@pytest.mark.parametrize("objective", [SoftTargets(), CrossEntropy(), VID(student="early", teacher="late")])
def test_a_real_objective_survives(objective):
    testing.check_objective(objective, DEFINITIONS[objective])


def test_the_real_step_survives():
    testing.check_step(add_gradients)


def test_a_failure_says_what_was_expected_and_what_came():
    forward_kl = DEFINITIONS[SoftTargets()]
    with pytest.raises(AssertionError) as failure:
        testing.check_objective(logits.NoTemperatureSquared(), forward_kl)
    first, second = str(failure.value).splitlines()
    assert re.search(r"at_all_temperatures': expected gradient norms .* within 10 %, got \[0\.\d", first)
    assert re.search(r"matches_the_definition': expected values of the definition: .* got 0\.\d", second)
    with pytest.raises(AssertionError, match="breaks its promise 'matches_the_definition'"):
        testing.check_definition(logits.MeanOverClasses(), forward_kl)
    with pytest.raises(AssertionError, match="breaks its promise 'is_the_gradient_of_the_mean'"):
        testing.check_step(steps.divided_twice)


def test_an_objective_that_raises_breaks_a_promise_by_name():
    class Raises(logits.Mutant):
        def __call__(self, output, signal, labels):
            raise RuntimeError("out of cheese")

    broken = testing.broken_promises(Raises())
    assert broken["one_value_per_example"].endswith("out of cheese")


def test_a_definition_nearly_right_is_another():
    """The right formula at a temperature of 4.001."""
    nearly = defined_logits.forward_kl(4.001)
    assert testing.broken_promises(SoftTargets(temperature=4.0), nearly).keys() == {"matches_the_definition"}


class OfOneShape(Hint):
    """A hint that does not learn to compare unlike features."""

    def build(self, student, teacher):
        if student != teacher:
            raise ValueError("unlike shapes")
        return super().build(student, teacher)


def test_shapes_that_an_objective_refuses_are_not_asked_of_it():
    hint = next(definition for objective, definition in DEFINITIONS.items() if objective.name == "hint")
    testing.check_objective(OfOneShape(student="early", teacher="late"), hint)


def test_like_shapes_may_not_be_refused():
    class Refuses(OfOneShape):
        def build(self, student, teacher):
            raise ValueError("no shape will do")

    broken = testing.broken_promises(Refuses(student="early", teacher="late"))
    assert broken["one_value_per_example"].endswith("no shape will do")


def test_it_leaves_the_global_randomness_alone():
    before = torch.get_rng_state()
    testing.check_objective(*next(pair for pair in DEFINITIONS.items() if pair[0].name == "vid"))
    assert torch.equal(torch.get_rng_state(), before)


def test_it_needs_no_pytest():
    code = "import sys, limbeck.testing; assert 'pytest' not in sys.modules and 'hypothesis' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
