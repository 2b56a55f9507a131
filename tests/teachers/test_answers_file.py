"""Tables of answers: two layouts, two formats, one answer an example, and nothing left open."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from asking import CLASSES, examples_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet

from limbeck.data import Preprocess
from limbeck.errors import DataError, RecipeError
from limbeck.files import digest
from limbeck.teachers import AnswersTeacher, Audience, Logits, Probabilities, Votes, ask_all

COUNT = 12
EXAMPLES = examples_of(COUNT)
KEYS = [bytes(key.tolist()).hex() for key in EXAMPLES.keys]
LOGITS = np.random.default_rng(0).normal(size=(COUNT, 3)).astype(np.float32)
AUDIENCE = Audience(EXAMPLES, Preprocess())


def wide(values=LOGITS, names=CLASSES, **index):
    return {**index, **{name: values[:, place] for place, name in enumerate(names)}}


def saved(folder, columns, form="parquet"):
    path = folder / f"answers.{form}"
    table = pa.table(columns)
    (parquet.write_table if form == "parquet" else csv.write_csv)(table, path)
    return str(path)


def opened(folder, columns, form="parquet", audience=AUDIENCE, **options):
    return AnswersTeacher(path=saved(folder, columns, form), **options).open(audience)


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("index", ["row", "key", None])
def test_a_line_for_each_example_answers_by_its_row_its_key_or_its_place(tmp_path, form, index):
    order = np.arange(COUNT) if index is None else np.random.default_rng(1).permutation(COUNT)
    where = {} if index is None else {index: order if index == "row" else [KEYS[row] for row in order]}
    who = opened(tmp_path, wide(LOGITS[order], **where), form)
    assert who.gives == Logits()
    np.testing.assert_allclose(ask_all(who, EXAMPLES), LOGITS, rtol=1e-6)
    assert who.knows(EXAMPLES)


@pytest.mark.parametrize("names", [("c", "a", "b"), ("2", "0", "1")])
def test_columns_stand_in_any_order_by_the_name_or_the_number_of_their_class(tmp_path, names):
    who = opened(tmp_path, wide(LOGITS[:, [2, 0, 1]], names))
    assert torch.equal(ask_all(who, EXAMPLES), torch.from_numpy(LOGITS))
    assert who.identity() == opened(tmp_path, wide()).identity()


def test_a_recipe_can_name_the_columns(tmp_path):
    who = opened(tmp_path, wide(LOGITS[:, [2, 0, 1]], ("p0", "p1", "p2")), classes=("c", "a", "b"))
    assert torch.equal(ask_all(who, EXAMPLES), torch.from_numpy(LOGITS))
    with pytest.raises(DataError, match="3 columns of classes, and `classes` names 2"):
        opened(tmp_path, wide(), classes=("a", "b"))


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("labels", ["names", "numbers"])
def test_lines_of_one_vote_each_are_counted(tmp_path, form, labels):
    rng = np.random.default_rng(2)
    rows = np.concatenate([np.arange(COUNT), rng.integers(0, COUNT, 50)])
    said = rng.integers(0, 3, len(rows))
    columns = {"row": rows, "label": said if labels == "numbers" else [CLASSES[place] for place in said]}
    expected = np.zeros((COUNT, 3))
    for row, label in zip(rows, said, strict=True):
        expected[row, label] += 1
    who = opened(tmp_path, columns, form)
    assert who.gives == Votes()
    logits = np.log(expected + 0.5) - np.log(expected.sum(axis=1, keepdims=True) + 1.5)
    np.testing.assert_allclose(ask_all(who, EXAMPLES), logits, rtol=1e-5, atol=1e-6)


def test_an_annotator_has_one_vote_on_an_example(tmp_path):
    columns = {"key": KEYS * 2 + KEYS[:1], "label": ["a"] * (2 * COUNT + 1)}
    names = ["ann"] * COUNT + ["bob"] * COUNT + ["ann"]
    votes = opened(tmp_path, {**columns, "annotator": names}).rows_NC
    assert votes.tolist() == [[2.0, 0.0, 0.0]] * COUNT
    assert opened(tmp_path, columns).rows_NC[0].tolist() == [3.0, 0.0, 0.0]
    with pytest.raises(DataError, match="two votes of one annotator on training row 0: a and c"):
        opened(tmp_path, {**columns, "label": ["a"] * (2 * COUNT) + ["c"], "annotator": names})


@pytest.mark.parametrize(
    ("values", "gives"),
    [
        (LOGITS, Logits()),
        (np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True), Probabilities()),
        (np.round(LOGITS**2 * 4) + 1, Votes()),
        (np.round(LOGITS * 4), Logits()),
        (np.round(LOGITS**2 * 4) + 0.25, Logits()),
    ],
)
def test_what_is_not_declared_is_told_from_the_numbers(tmp_path, values, gives):
    assert opened(tmp_path, wide(values)).gives == gives


def test_what_is_declared_is_held_to_it(tmp_path):
    ones = np.ones((COUNT, 3))
    assert opened(tmp_path, wide(ones), gives="logits").gives == Logits()
    assert opened(tmp_path, wide(ones), gives="votes").gives == Votes()
    with pytest.raises(DataError, match="is to give probabilities"):
        opened(tmp_path, wide(ones), gives="probabilities")
    with pytest.raises(DataError, match="is to give votes, and gave values from -1"):
        opened(tmp_path, wide(-ones), gives="votes")


def test_duplicates_of_an_example_need_one_answer(tmp_path):
    twice = EXAMPLES.select(torch.tensor([0, 1, 0, 2]))
    audience = Audience(twice, Preprocess())
    for where in ({"key": KEYS[:3]}, {"row": [0, 1, 3]}):
        who = opened(tmp_path, wide(LOGITS[:3], **where), audience=audience)
        np.testing.assert_array_equal(ask_all(who, twice), LOGITS[[0, 1, 0, 2]])


def test_keys_of_other_data_are_passed_over(tmp_path):
    other = [bytes(key.tolist()).hex() for key in examples_of(3, seed=9).keys]
    columns = wide(np.concatenate([LOGITS, LOGITS[:3]]), key=KEYS + other)
    np.testing.assert_array_equal(ask_all(opened(tmp_path, columns), EXAMPLES), LOGITS)


def broken(change):
    values = LOGITS.copy()
    change(values)
    return values


REFUSED = {
    "an example without an answer": (wide(LOGITS[1:], row=range(1, COUNT)), r"1 of 12 .* rows 0 \("),
    "too few lines": (wide(LOGITS[1:]), "11 lines for 12"),
    "too many lines": (wide(np.concatenate([LOGITS, LOGITS])), "more lines than the 12"),
    "a row beyond the data": (wide(row=range(1, COUNT + 1)), "the row 12 in line 12"),
    "a row below 0": (wide(row=range(-1, COUNT - 1)), "the row -1 in line 1"),
    "two answers": (
        wide(np.concatenate([LOGITS, LOGITS[:1] + 1]), row=[*range(COUNT), 0]),
        "a second answer to training row 0, unlike the first",
    ),
    "no key": (wide(key=["xyz", *KEYS[1:]]), "the key 'xyz', where 64"),
    "a column that is no class": (wide(names=("a", "b", "d")), r"the columns d, which are no classes"),
    "a class without a column": (wide(LOGITS[:, :2], ("a", "b")), "lacks c"),
    "key and row": (wide(row=range(COUNT), key=KEYS), "a column key and a column row"),
    "NaN": (wide(broken(lambda v: v.__setitem__((3, 1), np.nan))), "NaN or infinite in line 4"),
    "infinity": (wide(broken(lambda v: v.__setitem__((0, 2), np.inf))), "NaN or infinite in line 1"),
    "a class unknown": ({"row": range(COUNT), "label": ["d"] * COUNT}, "the label 'd', which is no class"),
    "votes for nobody": ({"label": ["a"] * COUNT, "annotator": range(COUNT)}, "no column row or key"),
    "votes with more": ({"row": range(COUNT), "label": ["a"] * COUNT, "time": range(COUNT)}, "also the columns time"),
    "texts for numbers": ({"a": ["x"] * COUNT, "b": ["y"] * COUNT, "c": ["z"] * COUNT}, "answers"),
    "nothing": ({"a": [], "b": [], "c": []}, "answers"),
}


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said_with_its_place(tmp_path, form, case):
    columns, words = REFUSED[case]
    with pytest.raises(DataError, match=words) as caught:
        opened(tmp_path, columns, form)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,c\n1,2\n", "Expected 3 columns, got 2"),
        ("a,b,c\n1,2,x\n", "invalid value 'x'"),
        ("a,a,c\n1,2,3\n", "two columns named a"),
        ("a,b,c\n1,,3\n", "empty, NaN or infinite in line 1"),
        ("row,label\n,a\n", "lines without a row"),
        ("row,label\n0,\n", "the label ''"),
    ],
)
def test_a_csv_file_is_refused_line_by_line(tmp_path, text, words):
    (tmp_path / "answers.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        AnswersTeacher(path=str(tmp_path / "answers.csv")).open(AUDIENCE)


def test_a_csv_file_may_have_a_mark_blanks_and_windows_ends(tmp_path):
    lines = "\r\n".join(f"{row},{a},{b},{c}" for row, (a, b, c) in enumerate(LOGITS.tolist()))
    (tmp_path / "answers.csv").write_bytes(b"\xef\xbb\xbf" + f"row, a,b ,c\r\n{lines}\r\n".encode())
    who = AnswersTeacher(path=str(tmp_path / "answers.csv")).open(AUDIENCE)
    np.testing.assert_allclose(ask_all(who, EXAMPLES), LOGITS, rtol=1e-6)


def test_the_identity_tells_one_ulp_and_not_the_order_of_lines(tmp_path):
    first = digest(opened(tmp_path, wide()).identity())
    order = np.arange(COUNT)[::-1]
    assert digest(opened(tmp_path, wide(LOGITS[order], row=order)).identity()) == first
    moved = broken(lambda v: v.__setitem__((0, 0), np.nextafter(v[0, 0], np.float32(9))))
    assert digest(opened(tmp_path, wide(moved)).identity()) != first
    assert digest(opened(tmp_path, wide(LOGITS[:, [1, 0, 2]])).identity()) != first


def test_a_store_of_a_table_is_known_again_and_made_anew_for_another(tmp_path, open_store):
    counts = np.round(LOGITS**2 * 4) + 1
    first = open_store(opened(tmp_path, wide(counts)), EXAMPLES).directory
    assert open_store(opened(tmp_path, wide(counts)), EXAMPLES).directory == first
    assert open_store(opened(tmp_path, wide(counts), gives="logits"), EXAMPLES).directory != first


def test_it_has_no_parts_to_tap(tmp_path):
    with pytest.raises(RecipeError, match="taps x were asked of the table"):
        opened(tmp_path, wide(), audience=Audience(EXAMPLES, Preprocess(), taps=("x",)))


@settings(max_examples=30, deadline=None)
@given(votes=st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(0, 2), st.integers(0, 4)), max_size=60))
def test_votes_count_whatever_their_order_and_number(tmp_path_factory, votes):
    first = {}
    for row, label, annotator in [*((row, 0, 9) for row in range(COUNT)), *votes]:
        first.setdefault((row, annotator), label)
    expected = np.zeros((COUNT, 3))
    for (row, _), label in first.items():
        expected[row, label] += 1
    columns = {
        "row": [row for row, _ in first],
        "label": list(first.values()),
        "annotator": [f"annotator {who}" for _, who in first],
    }
    table = opened(tmp_path_factory.mktemp("votes"), columns)
    np.testing.assert_array_equal(table.rows_NC, expected)
