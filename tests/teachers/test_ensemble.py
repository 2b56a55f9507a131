"""Several teachers as one: the mean they state, and nothing lost of what a teacher promises."""

import math

import numpy as np
import pytest
import torch
from asking import CPU, examples_of, net, preflight, teacher
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from limbeck.data import Preprocess
from limbeck.errors import DataError, RecipeError
from limbeck.files import digest_tensors
from limbeck.teachers import (
    Audience,
    CallableTeacher,
    Ensemble,
    EnsembleTeacher,
    Logits,
    ModuleTeacher,
    Probabilities,
    TableTeacher,
    ask_all,
    teacher_of,
)

EXAMPLES = examples_of(40)


def tables(count=3, size=3.0, seed=0):
    """So many random tables of logits [40, 3] for the examples."""
    rng = np.random.default_rng(seed)
    return [size * rng.normal(size=(40, 3)) for _ in range(count)]


def table_teacher(rows):
    return TableTeacher(torch.from_numpy(rows), EXAMPLES)


def answer(rows, weights=None, mean="probabilities"):
    """What an ensemble of tables says [40, 3], float64."""
    return ask_all(EnsembleTeacher([table_teacher(each) for each in rows], weights, mean), EXAMPLES).double().numpy()


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


# --- the mean --------------------------------------------------------------------------------------------------------


weights_of_three = st.lists(st.floats(0.01, 100), min_size=3, max_size=3)


@given(weights=st.none() | weights_of_three, size=st.floats(0.1, 30), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_mean_of_probabilities(weights, size, seed):
    rows = tables(size=size, seed=seed)
    shares = np.ones(3) / 3 if weights is None else np.array(weights) / sum(weights)
    expected = sum(share * softmax(each.astype(np.float32)) for share, each in zip(shares, rows, strict=True))
    said = answer(rows, weights)
    np.testing.assert_allclose(np.exp(said), expected, atol=2e-6)
    np.testing.assert_allclose(softmax(said), np.exp(said), atol=2e-6)  # log-probabilities: their softmax is they


@given(weights=st.none() | weights_of_three, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_mean_of_logits(weights, seed):
    rows = tables(seed=seed)
    shares = np.ones(3) / 3 if weights is None else np.array(weights) / sum(weights)
    expected = sum(share * each for share, each in zip(shares, rows, strict=True))
    np.testing.assert_allclose(answer(rows, weights, "logits"), expected, atol=1e-5)


def test_the_mean_is_taken_in_log_space():
    sure, other = np.zeros((40, 3)), np.zeros((40, 3))
    sure[:, 0], other[:, 1] = 1e4, 1e4
    said = answer([sure, other])
    assert np.isfinite(said).all()
    np.testing.assert_allclose(said[:, :2], math.log(0.5))
    np.testing.assert_allclose(said[:, 2], -1e4 + math.log(1.0), rtol=1e-6)


@pytest.mark.parametrize("mean", ["probabilities", "logits"])
def test_only_the_ratio_of_the_weights_counts(mean):
    rows = tables()
    np.testing.assert_allclose(answer(rows, [1, 2, 5], mean), answer(rows, [0.25, 0.5, 1.25], mean), atol=1e-6)
    np.testing.assert_allclose(answer(rows, [7, 7, 7], mean), answer(rows, None, mean), atol=1e-6)


@pytest.mark.parametrize("mean", ["probabilities", "logits"])
def test_the_order_of_the_members_is_nothing(mean):
    first, second, third = tables()
    np.testing.assert_allclose(
        answer([first, second, third], [1, 2, 3], mean), answer([third, first, second], [3, 1, 2], mean), atol=1e-5
    )


@pytest.mark.parametrize("weights", [None, [3.0]])
def test_one_member_is_that_member(weights):
    (rows,) = tables(1)
    np.testing.assert_array_equal(answer([rows], weights, "logits"), rows.astype(np.float32))
    np.testing.assert_allclose(softmax(answer([rows], weights)), softmax(rows), atol=1e-6)
    np.testing.assert_allclose(softmax(answer([rows, rows, rows])), softmax(rows), atol=1e-6)


@pytest.mark.parametrize("mean", ["probabilities", "logits"])
def test_a_weight_is_that_many_members(mean):
    first, second = tables(2)
    np.testing.assert_allclose(
        answer([first, second], [2, 1], mean), answer([first, first, second], None, mean), atol=1e-5
    )


def test_a_member_may_give_probabilities():
    first, second = tables(2, size=1.0)
    mixed = EnsembleTeacher([table_teacher(first), table_teacher(softmax(second))], None, "probabilities")
    assert [member.gives for member in mixed.members] == [Logits(), Probabilities()]
    said = ask_all(mixed, EXAMPLES).double().numpy()
    np.testing.assert_allclose(np.exp(said), (softmax(first) + softmax(second)) / 2, atol=1e-6)
    assert mixed.gives == Logits()


# --- a teacher like another ------------------------------------------------------------------------------------------


def two(mean="probabilities", weights=(1.0, 2.0), seeds=(0, 1)):
    return EnsembleTeacher([teacher(net(seed)) for seed in seeds], weights, mean)


def test_the_identity_is_all_that_decides_the_answers():
    before = two().identity()
    assert two().identity() == before
    assert two(weights=(2.0, 4.0)).identity() == before
    for other in (two("logits"), two(weights=(2.0, 1.0)), two(seeds=(0, 2)), two(weights=None), two(seeds=(1, 0))):
        assert other.identity() != before


def test_the_identity_tells_what_a_member_gives():
    logits, probabilities = two(), two()
    probabilities.members[1].gives = Probabilities()
    assert logits.identity() != probabilities.identity()


def test_an_ensemble_is_asked_in_evaluation_mode_and_left_as_it_was():
    networks = [net(seed).train() for seed in range(2)]
    before = [digest_tensors(module.state_dict()) for module in networks]
    both = EnsembleTeacher([teacher(module) for module in networks], None, "logits")
    said = ask_all(both, EXAMPLES)
    assert torch.equal(said, ask_all(both, EXAMPLES))
    assert [digest_tensors(module.state_dict()) for module in networks] == before
    assert all(part.training for module in networks for part in module.modules())
    assert not said.requires_grad
    assert not said.is_inference()


def test_an_ensemble_knows_what_all_its_members_know():
    known, unseen = EXAMPLES.select(torch.arange(5)), examples_of(5, seed=9)
    both = EnsembleTeacher([teacher(), table_teacher(tables(1)[0])], None, "probabilities")
    assert both.knows(known)
    assert not both.knows(unseen)
    assert two().knows(unseen)
    with pytest.raises(DataError, match="no row for 5 of 5"):
        ask_all(both, unseen)


def test_a_store_is_made_once_and_belongs_to_this_mean(open_store):
    first = open_store(two(), EXAMPLES)
    torch.testing.assert_close(first.signals.tensors["logits"].float(), ask_all(two(), EXAMPLES), atol=2e-2, rtol=2e-3)
    again = two()
    store = open_store(again, EXAMPLES)
    assert store.directory == first.directory
    assert sum(member.module.asked for member in again.members) < 2 * len(EXAMPLES)  # its probes alone
    assert open_store(two("logits"), EXAMPLES).directory != first.directory


# --- the preflight ---------------------------------------------------------------------------------------------------


def right(share=1.0):
    """Logits that name the true class of that share of the examples."""
    rows = 5.0 * nn.functional.one_hot(EXAMPLES.labels, 3).double().numpy() + 0.01 * tables(1)[0]
    rows[round(share * 40) :] = np.roll(rows[round(share * 40) :], 1, axis=1)
    return rows


def test_each_member_is_looked_at():
    both = EnsembleTeacher([table_teacher(right()), table_teacher(right(0.75))], None, "probabilities")
    found = preflight(both, EXAMPLES, allow_weak=False)
    assert [member["train_accuracy"] for member in found["members"]] == [1.0, 0.75]
    assert found["train_accuracy"] >= 0.75
    assert "members" not in preflight(table_teacher(right()), EXAMPLES, allow_weak=False)


def test_a_member_that_turns_out_to_give_probabilities():
    softmaxed = CallableTeacher(lambda x: (4 * x.flatten(1)[:, :3]).softmax(1), Preprocess(scale=255.0))
    both = EnsembleTeacher([softmaxed, teacher()], None, "probabilities")
    preflight(both, EXAMPLES, allow_weak=True)
    assert [member.gives for member in both.members] == [Probabilities(), Logits()]
    expected = (softmax(ask_all(softmaxed, EXAMPLES).numpy()) + softmax(ask_all(teacher(), EXAMPLES).numpy())) / 2
    np.testing.assert_allclose(ask_all(both, EXAMPLES).exp().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (lambda: teacher(net(classes=4)), "gives 4 classes, the data have 3"),
        (lambda: table_teacher(-right()), "is right on"),
        (lambda: table_teacher(np.ones((40, 3))), "the same answer to all"),
    ],
    ids=["classes", "weak", "constant"],
)
def test_one_bad_member_is_one_too_many(member, words):
    with pytest.raises(DataError, match=words):
        preflight(EnsembleTeacher([table_teacher(right()), member()], [9.0, 1.0], "logits"), EXAMPLES, allow_weak=False)


# --- how it is made --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0], "an ensemble of 2 has 2 weights above 0"),
        ([1.0, 2.0, 3.0], "2 weights"),
        ([1.0, 0.0], "above 0"),
        ([1.0, -1.0], "above 0"),
        ([1.0, math.inf], "above 0"),
        ([1.0, math.nan], "above 0"),
        ([], "2 weights"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights, words):
    with pytest.raises(ValueError, match=words):
        Ensemble([net(), net(1)], weights)
    with pytest.raises(ValueError, match=words):
        EnsembleTeacher([teacher(), teacher()], weights, "logits")


def test_an_ensemble_of_none_is_refused():
    with pytest.raises(ValueError, match="at least one member"):
        Ensemble([])


@pytest.mark.parametrize("given", [list, tuple, Ensemble])
def test_python_objects_become_the_members_that_they_are(given):
    members = given([net(), tables(1)[0], lambda x: x.flatten(1)[:, :3]])
    made = teacher_of(members, Audience(EXAMPLES, Preprocess()))
    assert isinstance(made, EnsembleTeacher)
    assert [type(member) for member in made.members] == [ModuleTeacher, TableTeacher, CallableTeacher]
    assert made.mean == "probabilities"
    torch.testing.assert_close(made.weights_K, torch.full((3,), 1 / 3))


def test_weights_and_mean_arrive():
    made = teacher_of(Ensemble([net(), net(1)], weights=(3, 1), mean="logits"), Audience(EXAMPLES, Preprocess()))
    assert isinstance(made, EnsembleTeacher)
    assert made.mean == "logits"
    assert made.weights_K.tolist() == [0.75, 0.25]


def test_a_member_that_cannot_answer_is_named():
    with pytest.raises(DataError, match="member 1 of the teacher is a str"):
        teacher_of([net(), "runs/x/teacher"], Audience(EXAMPLES, Preprocess()))


def test_a_mean_of_something_else_is_refused():
    with pytest.raises(ValueError, match="mean is of probabilities or logits, not 'logit'"):
        Ensemble([net()], mean="logit")


@pytest.mark.parametrize("given", [[], [[1.0, 2.0]], [3], ["runs/x/teacher"]])
def test_a_list_of_something_else_is_no_teacher(given):
    with pytest.raises(DataError, match="the teacher is a list"):
        teacher_of(given, Audience(EXAMPLES, Preprocess()))


@pytest.mark.parametrize("given", [[net(), net(1)], Ensemble([net()])], ids=["list", "ensemble"])
def test_an_ensemble_has_no_parts_to_tap(given):
    with pytest.raises(RecipeError, match="the taps first came with a teacher that is a") as caught:
        teacher_of(given, Audience(EXAMPLES, Preprocess(), CPU, ("first",)))
    assert "hand over the network itself" in caught.value.do
