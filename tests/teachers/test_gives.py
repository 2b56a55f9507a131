"""What a teacher's numbers are, and the rules by which they become logits."""

import math

import numpy as np
import pytest
import torch
from asking import examples_of
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import DataError
from limbeck.teachers import Audience, Logits, Probabilities, TableTeacher, Votes, ask_all
from limbeck.teachers.gives import PROBABILITY_FLOOR, columns_of, facts_of


def test_probabilities_become_logits_by_the_floor():
    p = torch.tensor([[1.0, 0.0, 0.0], [0.7, 0.3 - 1e-5, 1e-5], [0.2, 0.3, 0.5]])
    logits = Probabilities().logits(p)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits, torch.log(torch.maximum(p, torch.tensor(PROBABILITY_FLOOR))))
    torch.testing.assert_close(logits[2].softmax(0), p[2])
    torch.testing.assert_close(ask_all(TableTeacher(p, examples_of(3)), examples_of(3)), logits)


def test_votes_get_half_a_vote_more_for_every_class():
    logits = Votes(10).logits(torch.tensor([[0.7, 0.3, 0.0]]))
    expected = [math.log((10 * p + 0.5) / (10 + 1.5)) for p in (0.7, 0.3, 0.0)]
    np.testing.assert_allclose(logits[0].numpy(), expected, rtol=1e-6)
    torch.testing.assert_close(logits.exp().sum(dim=1), torch.ones(1))


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8).filter(any))
def test_votes_counted_and_votes_as_shares_are_one_rule(counts):
    votes = torch.tensor([counts], dtype=torch.float32)
    n = int(votes.sum())
    torch.testing.assert_close(Votes().logits(votes), Votes(n).logits(votes / n))


def test_counted_votes_may_differ_in_number_from_row_to_row():
    logits = Votes().logits(torch.tensor([[1.0, 0.0], [100.0, 0.0]]))
    np.testing.assert_allclose(logits.exp().numpy(), [[1.5 / 2, 0.5 / 2], [100.5 / 101, 0.5 / 101]], rtol=1e-6)


@pytest.mark.parametrize(
    ("gives", "answers"),
    [
        (Probabilities(), [[1.2, -0.2]]),
        (Probabilities(), [[3.0, 1.0]]),
        (Votes(5), [[3.0, 2.0]]),
        (Votes(), [[0.5, 0.5]]),
        (Votes(), [[0.0, 0.0]]),
        (Votes(), [[2.0, -1.0]]),
    ],
)
def test_answers_of_another_kind_are_refused_with_their_numbers(gives, answers):
    with pytest.raises(DataError, match=r"is to give .*gave values from"):
        gives.logits(torch.tensor(answers))


def test_logits_are_taken_as_they_are():
    answers = torch.randn(3, 4)
    assert Logits().logits(answers) is answers
    assert Logits().rule is None


def test_the_facts_tell_every_rule_from_every_other():
    rules = [Logits(), Probabilities(), Probabilities(1e-3), Votes(), Votes(3), Votes(4)]
    facts = [facts_of(rule) for rule in rules]
    assert all(facts.count(each) == 1 for each in facts)


def test_the_classes_of_the_data_are_found_among_the_teachers():
    assert columns_of(("a", "b"), ("a", "b"), "T") is None
    assert columns_of(("c", "x", "a", "b"), ("a", "b", "c"), "T") == (2, 3, 0)
    with pytest.raises(DataError, match="T knows the classes a, b, and lacks c"):
        columns_of(("a", "b"), ("a", "c"), "T")
    with pytest.raises(DataError, match="has a twice"):
        columns_of(("a", "a", "b"), ("a", "b"), "T")


def test_an_audience_names_its_members():
    assert Audience(examples_of(4), None).member(3).key == "teacher.members.3"
