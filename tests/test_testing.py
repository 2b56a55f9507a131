"""The contract suite can fail: every mutant dies, of the promises it breaks and of no others."""

import inspect
import re
import subprocess
import sys

import pytest

import mutants
from limbeck import testing
from limbeck.objectives import CrossEntropy, SoftTargets
from limbeck.training.step import add_gradients
from objectives.definitions import cross_entropy, forward_kl, reverse_kl

DEFINITIONS = {
    "forward-kl": forward_kl(4.0),
    "reverse-kl": reverse_kl(4.0),
    "cross-entropy": cross_entropy(0.0),
}

KILLED_BY = {
    mutants.NoTemperatureSquared: {"has_one_gradient_size_at_all_temperatures", "matches_the_definition"},
    mutants.MeanOverClasses: {"bears_absent_classes", "matches_the_definition"},
    mutants.Reversed: {"matches_the_definition"},
    mutants.OneSidedTemperature: {
        "is_zero_at_the_teacher",
        "has_one_gradient_size_at_all_temperatures",
        "matches_the_definition",
    },
    mutants.ReducedEarly: {
        "one_value_per_example",
        "treats_each_example_alone",
        "permutes_with_examples",
        "matches_the_definition",
    },
    mutants.BroadcastMean: {"treats_each_example_alone", "matches_the_definition"},
    mutants.CrossEntropyCalledKL: {"is_zero_at_the_teacher", "matches_the_definition"},
    mutants.TeacherNotDetached: {"takes_the_teacher_as_constant"},
    mutants.NaNWhereAbsent: {"bears_absent_classes"},
    mutants.NaNGradientWhereAbsent: {"bears_absent_classes"},
    mutants.LogOfProbabilities: {"bears_extreme_logits"},
    mutants.ClampedProbabilities: {"matches_the_definition"},
    mutants.BroadcastsWidthOne: {"refuses_other_widths"},
    mutants.HalfPrecision: {"is_in_float32_at_least", "keeps_its_digits_in_half_precision"},
    mutants.AlwaysFloat32: {
        "is_in_float32_at_least",
        "is_zero_at_the_teacher",
        "ignores_a_shift_of_logits",
        "has_the_gradient_of_its_value",
        "permutes_with_classes",
        "bears_absent_classes",
        "matches_the_definition",
    },
    mutants.RightValueWrongGradient: {"has_the_gradient_of_its_value", "matches_the_definition"},
    mutants.MeanSquaredProbabilities: {"bears_absent_classes", "matches_the_definition"},
    mutants.MaskedByLabels: {"needs_no_labels", "matches_the_definition"},
    mutants.TruncatedWithoutTail: {
        "is_zero_at_the_teacher",
        "is_never_negative",
        "has_one_gradient_size_at_all_temperatures",
        "matches_the_definition",
    },
    mutants.RawLogits: {"ignores_a_shift_of_logits", "matches_the_definition"},
    mutants.CutVocabulary: {"permutes_with_classes", "matches_the_definition"},
    mutants.ComparesNeighbours: {"permutes_with_examples", "matches_the_definition"},
    mutants.MeanOverLabelled: {
        "is_in_float32_at_least",
        "keeps_its_digits_in_half_precision",
        "treats_each_example_alone",
        "is_nothing_without_labels",
        "matches_the_definition",
    },
    mutants.UnlabelledAsClassZero: {"is_nothing_without_labels", "matches_the_definition"},
    mutants.WeighedByTheTeacher: {"needs_no_teacher", "matches_the_definition"},
}

STEP_KILLED_BY = {
    mutants.mean_per_micro_batch: {"adds_up_over_micro_batches"},
    mutants.divided_twice: {"is_the_gradient_of_the_mean"},
    mutants.labelled_of_the_micro_batch: {
        "adds_up_over_micro_batches",
        "is_the_gradient_of_the_mean",
        "returns_the_value_of_each_term",
        "gets_nothing_from_the_unlabelled",
    },
    mutants.labelled_divided_by_all: {"is_the_gradient_of_the_mean", "returns_the_value_of_each_term"},
    mutants.weights_swapped: {"is_the_gradient_of_the_mean"},
    mutants.weights_forgotten: {"is_the_gradient_of_the_mean"},
    mutants.gradients_zeroed_each_time: {"adds_up_over_micro_batches"},
    mutants.weighted_values: {"returns_the_value_of_each_term"},
    mutants.teacher_trained_too: {"leaves_the_teacher_alone"},
}


@pytest.mark.parametrize("mutant", KILLED_BY, ids=lambda mutant: mutant.__name__)
def test_a_mutant_of_an_objective_dies_of_the_promises_it_breaks(mutant):
    broken = testing.broken_promises(mutant(), DEFINITIONS[mutant.spoils])
    assert set(broken) == KILLED_BY[mutant], "\n".join(broken.values())
    for name, message in broken.items():
        assert message.startswith(f"{mutant()} breaks its promise {name!r}: ")


@pytest.mark.parametrize("mutant", STEP_KILLED_BY, ids=lambda mutant: mutant.__name__)
def test_a_mutant_of_the_step_dies_of_the_promises_it_breaks(mutant):
    broken = testing.broken_step_promises(mutant)
    assert set(broken) == STEP_KILLED_BY[mutant], "\n".join(broken.values())


def test_no_mutant_is_left_out():
    kinds = (mutants.Mutant, mutants.HardMutant)
    classes = {
        thing
        for thing in vars(mutants).values()
        if inspect.isclass(thing) and issubclass(thing, kinds) and thing not in kinds
    }
    steps = {
        thing
        for thing in vars(mutants).values()
        if inspect.isfunction(thing) and list(inspect.signature(thing).parameters)[-1] == "bf16"
    }
    assert set(KILLED_BY) == classes
    assert set(STEP_KILLED_BY) == steps


def test_every_promise_kills_some_mutant():
    """A promise that has never failed has not been shown to be one."""
    assert set().union(*KILLED_BY.values()) == {
        *(promise.name for promise in testing.PROMISES),
        "matches_the_definition",
    }
    assert set().union(*STEP_KILLED_BY.values()) == {promise.name for promise in testing.STEP_PROMISES}


def test_the_real_ones_survive():
    testing.check_objective(SoftTargets(), forward_kl(4.0))
    testing.check_objective(SoftTargets(divergence="reverse-kl"), reverse_kl(4.0))
    testing.check_objective(CrossEntropy(), cross_entropy(0.0))
    testing.check_step(add_gradients)


def test_a_failure_says_what_was_expected_and_what_came():
    with pytest.raises(AssertionError) as failure:
        testing.check_objective(mutants.NoTemperatureSquared(), forward_kl(4.0))
    first, second = str(failure.value).splitlines()
    assert re.search(r"at_all_temperatures': expected gradient norms .* within 10 %, got \[0\.\d", first)
    assert re.search(r"matches_the_definition': expected values of the definition: .* got 0\.\d", second)
    with pytest.raises(AssertionError, match="breaks its promise 'matches_the_definition'"):
        testing.check_definition(mutants.MeanOverClasses(), forward_kl(4.0))
    with pytest.raises(AssertionError, match="breaks its promise 'is_the_gradient_of_the_mean'"):
        testing.check_step(mutants.divided_twice)


def test_an_objective_that_raises_breaks_a_promise_by_name():
    class Raises(mutants.Mutant):
        def __call__(self, output, signal, labels):
            raise RuntimeError("out of cheese")

    broken = testing.broken_promises(Raises())
    assert broken["one_value_per_example"].endswith("out of cheese")


def test_a_definition_nearly_right_is_another():
    """The right formula at a temperature of 4.001."""
    assert testing.broken_promises(SoftTargets(temperature=4.0), forward_kl(4.001)).keys() == {"matches_the_definition"}


def test_it_needs_no_pytest():
    code = "import sys, limbeck.testing; assert 'pytest' not in sys.modules and 'hypothesis' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
