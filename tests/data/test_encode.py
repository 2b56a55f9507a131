import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from limbeck.data import Column, Encode, Preprocess, key_examples
from limbeck.errors import DataError

NAN = float("nan")
COLOURS = ("blue", "green", "red")
ENCODE = Encode(columns=(Column(name="size"), Column(name="colour", vocabulary=COLOURS), Column(name="age")))


def rows(*values):
    inputs = torch.tensor(values)
    labels = torch.arange(len(values)) % 2
    keys = torch.arange(32 * len(values)).reshape(-1, 32).to(torch.uint8)
    return key_examples(inputs, labels, ("a", "b"), keys)


TRAINING = rows([1.0, 1.0, 10.0], [3.0, 3.0, NAN], [5.0, 1.0, 30.0], [7.0, 3.0, 50.0])


def test_numbers_are_standardised_and_categories_become_places():
    learnt = ENCODE.on(TRAINING)
    got = learnt(torch.tensor([[7.0, 3.0, NAN], [4.0, 0.0, 30.0]]))
    mean, std = np.mean([1, 3, 5, 7]), np.std([1, 3, 5, 7])
    # size, age, whether age is missing; blue, green, red
    expected = [[(7 - mean) / std, 0, 1, 0, 0, 1], [(4 - mean) / std, 0, 0, 0, 0, 0]]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float32))
    assert learnt.output_shape((3,)) == (6,)


def test_a_missing_category_has_a_place_only_if_training_examples_missed_it():
    learnt = ENCODE.on(rows([1.0, 0.0, 1.0], [2.0, 2.0, 2.0]))
    assert learnt(torch.tensor([[1.5, 0.0, 1.5]])).tolist() == [[0, 0, 1, 0, 0, 0]]
    assert learnt.output_shape((3,)) == (6,)
    assert ENCODE.on(rows([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])).output_shape((3,)) == (5,)


def test_what_is_learnt_is_learnt_from_the_examples_given():
    without = ENCODE.on(TRAINING.select(torch.tensor([0, 2, 3])))
    assert [column.indicated for column in without.columns] == [False, False, False]
    assert without.columns[2].mean == 30.0
    assert ENCODE.on(TRAINING).on(TRAINING.select(torch.tensor([0, 2, 3]))) == without


@pytest.mark.parametrize("value", [0.0, 1e-30, 0.1, 3e6])
def test_a_constant_is_divided_by_nothing(value):
    learnt = Encode(columns=(Column(name="x"),)).on(rows([value], [value], [value]))
    assert learnt(torch.tensor([[value], [value + 1]]))[:, 0].tolist() == pytest.approx([0.0, 1.0], abs=1e-6)


@pytest.mark.parametrize("code", [-1.0, 4.0, 1e9, NAN])
def test_a_code_that_is_none_is_unknown(code):
    assert ENCODE(torch.tensor([[0.0, code, 0.0]])).tolist() == [[0, 0, 0, 0, 0]]
    assert ENCODE.decode([[0.0, code, 0.0]])["colour"].tolist() == [None]


def test_columns_of_one_kind_alone():
    categorical = Encode(columns=(Column(name="colour", vocabulary=COLOURS),))
    assert categorical(torch.tensor([[1.0], [3.0]])).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert Encode(columns=(Column(name="x"),))(np.array([[2.0]])).tolist() == [[2.0]]


@given(
    numbers=st.lists(st.one_of(st.floats(-1e6, 1e6, width=32), st.just(NAN)), min_size=1, max_size=20),
    data=st.data(),
)
def test_rows_are_decoded_to_what_they_were(numbers, data):
    colours = data.draw(st.lists(st.sampled_from([None, *COLOURS]), min_size=len(numbers), max_size=len(numbers)))
    codes = [0 if colour is None else 1 + COLOURS.index(colour) for colour in colours]
    encode = Encode(columns=(Column(name="x"), Column(name="colour", vocabulary=COLOURS)))
    columns = encode.decode(torch.tensor([[x, code] for x, code in zip(numbers, codes, strict=True)]))
    np.testing.assert_array_equal(columns["x"], np.array(numbers, dtype=np.float32))
    assert columns["colour"].tolist() == colours
    assert columns["x"].dtype == np.float32
    assert columns["colour"].dtype == object


def test_other_columns_are_refused():
    with pytest.raises(DataError, match="the 3 columns size, colour, age"):
        ENCODE(torch.zeros(2, 4))


def test_it_comes_back_from_json_as_it_was():
    learnt = ENCODE.on(TRAINING)
    plain = json.loads(json.dumps(asdict(learnt)))
    assert plain["kind"] == "encode"
    assert TypeAdapter(Encode).validate_python(plain) == learnt


@pytest.mark.parametrize(
    "other",
    [
        Preprocess(),
        Encode(columns=ENCODE.columns[::-1]),
        Encode(columns=(ENCODE.columns[0], Column(name="colour", vocabulary=("blue", "red")), ENCODE.columns[2])),
        Encode(columns=ENCODE.columns[:2]),
    ],
)
def test_data_that_are_stored_otherwise_are_refused(other):
    ENCODE.on(TRAINING).check_stored_alike(ENCODE, "the teacher")
    with pytest.raises(DataError, match="the teacher was learnt on other columns"):
        ENCODE.check_stored_alike(other, "the teacher")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Encode(columns=()),
        lambda: Encode(columns=(Column(name="x"), Column(name="x"))),
        lambda: Column(name="x", vocabulary=("a", "a")),
        lambda: Column(name="x", std=0.0),
        lambda: Column(name="x", mean=NAN),
    ],
)
def test_columns_without_meaning_are_refused(make):
    with pytest.raises(ValueError, match=r"must be|twice"):
        make()
