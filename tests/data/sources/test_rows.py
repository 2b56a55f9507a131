import gzip
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from limbeck import tabular
from limbeck.data import Rows, overlap, texts_of
from limbeck.errors import DataError

PLAIN = "size,colour,label\n1,red,yes\n2.5,blue,no\n,red,yes\n4,?,no\n"
TEST = "label,colour,size,more\nyes,green,9,x\nno,red,1e1,y\n"


@pytest.fixture
def write(tmp_path):
    def write(content, name="train.csv"):
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    return write


@pytest.fixture
def load(write):
    """Splits of a training and a test table in texts."""

    def load(train=PLAIN, test=TEST, **settings):
        return Rows(path=write(train), test=write(test, "test.csv"), **settings).load()

    return load


def refusal(path, **settings):
    with pytest.raises(DataError) as caught:
        Rows(path=path, **settings).load()
    return str(caught.value)


def role_of(splits):
    return {column["name"]: column["role"] for column in splits.facts["columns"]}


def table(rows, **columns):
    """A CSV file whose columns are functions of the number of the row, and a label of two classes."""
    lines = [",".join([*columns, "label"])]
    lines += [",".join([*(str(make(row)) for make in columns.values()), "ab"[row % 2]]) for row in range(rows)]
    return "\n".join(lines)


# --- what is stored --------------------------------------------------------------------------------------------------


def test_numbers_are_stored_as_they_are_and_categories_by_their_place(load):
    splits = load()
    np.testing.assert_array_equal(splits.train.inputs, [[1, 2], [2.5, 1], [math.nan, 2], [4, 0]])
    assert splits.train.inputs.dtype == torch.float32
    assert splits.train.classes == ("no", "yes")
    assert splits.train.labels.tolist() == [1, 0, 1, 0]
    assert splits.official


def test_the_test_file_is_read_by_name_and_an_unseen_category_is_counted(load):
    splits = load()
    assert splits.test.inputs.tolist() == [[9, 0], [10, 2]]
    assert splits.facts["unknown_in_test"] == {"colour": 1}


def test_the_encoding_is_learnt_on_training_rows_alone(load):
    size, colour = load().preprocess.columns
    assert (size.mean, size.indicated) == (2.5, True)
    assert (colour.vocabulary, colour.indicated) == (("blue", "red"), True)


def test_rows_are_decoded_to_the_columns_they_came_from(load):
    splits = load()
    columns = splits.preprocess.decode(splits.train.inputs)
    np.testing.assert_array_equal(columns["size"], np.array([1, 2.5, math.nan, 4], dtype=np.float32))
    assert columns["colour"].tolist() == ["red", "blue", "red", None]


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.rstrip("\n"),
        PLAIN + "\n\n",
        PLAIN.replace(",", " , "),
        PLAIN.replace("red", '"red"').replace("yes", '"yes"'),
        PLAIN.replace("2.5", "+25e-1").replace("4", "4.0"),
    ],
    ids=["BOM", "CRLF", "no last newline", "empty lines", "blanks", "quotes", "other numbers"],
)
def test_the_same_table_written_otherwise_has_the_same_keys(load, content):
    one, other = load(), load(content)
    assert torch.equal(one.train.keys, other.train.keys)
    np.testing.assert_array_equal(one.train.inputs, other.train.inputs)
    assert one.preprocess == other.preprocess


def test_parquet_compressed_csv_and_other_delimiters_give_the_same(write, tmp_path, load):
    plain = load()
    columns = {
        "size": pa.array([1, 2.5, None, 4]),
        "colour": pa.array(["red", "blue", "red", None]).dictionary_encode(),
        "label": ["yes", "no", "yes", "no"],
    }
    parquet.write_table(pa.table(columns), tmp_path / "table.parquet")
    paths = [str(tmp_path / "table.parquet"), write(PLAIN, "table.csv.gz"), write(PLAIN.replace(",", ";"), "semi.csv")]
    for path in paths:
        delimiter = ";" if "semi" in path else ","
        test = write(TEST.replace(",", delimiter), "test.csv")
        splits = Rows(path=path, test=test, delimiter=delimiter).load()
        assert torch.equal(splits.train.keys, plain.train.keys), path
        np.testing.assert_array_equal(splits.train.inputs, plain.train.inputs)


def test_a_folder_has_its_train_and_test_tables(write, tmp_path):
    write(PLAIN)
    write(TEST, "test.csv.gz")
    assert Rows(path=str(tmp_path)).load().official
    write(PLAIN, "train.csv.gz")
    assert "train.csv, train.csv.gz" in refusal(str(tmp_path))


def test_columns_may_be_named_where_the_file_does_not(write):
    body = PLAIN.split("\n", 1)[1]
    splits = Rows(path=write(body), test=write(body, "test.csv"), columns=("size", "colour", "label")).load()
    assert len(splits.train) == 4
    assert "names columns 1" in refusal(write(body))


def test_columns_may_be_named_by_numbers_that_count_them(load):
    content = "0,1,label\n5.5,2,x\n2,2.5,y\n3,9,x\n"
    assert role_of(load(content, content)) == {"0": "numeric", "1": "numeric"}


def test_quotes_hold_delimiters_newlines_and_quotes(load):
    odd = 'name,label\n"a,""b""\nc",yes\nné 漢字,no\n"a,""b""\nc",no\nné 漢字,no\n'
    splits = load(odd, odd)
    assert splits.preprocess.columns[0].vocabulary == ('a,"b"\nc', "né 漢字")


def test_whole_numbers_are_classes_by_size(load):
    splits = load("x,y\n" + "".join(f"{row}.5,{row % 11}\n" for row in range(40)), "x,y\n" + "1,10\n2,9\n" * 6)
    assert splits.train.classes == tuple(map(str, range(11)))
    assert splits.test.labels.tolist() == [10, 9] * 6


def test_a_missing_label_is_not_known(load):
    assert load(PLAIN.replace("red,yes", "red,?", 1)).train.labels.tolist() == [-100, 0, 1, 0]


# --- keys ------------------------------------------------------------------------------------------------------------


def test_keys_stay_when_vocabularies_grow_columns_move_and_others_come(load):
    before = load()
    after = load("id,colour,label,size\n7,red,yes,1\n8,blue,no,2.5\n9,red,yes,\n10,?,no,4\n11,amber,no,5\n")
    assert not np.array_equal(before.train.inputs[:, 1], after.train.inputs[:4, 0])
    assert torch.equal(before.train.keys, after.train.keys[:4])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,red", "1,blue"),
        ("1,red", "2,red"),
        (",red", "0,red"),
        ("1,", "1,0"),
        ("1,red", "1.0000001,red"),
    ],
)
def test_rows_that_differ_have_keys_that_differ(load, one, other):
    splits = load(f"size,colour,label\n{one},yes\n{other},no\n5,amber,no\n6,amber,no")
    assert splits.train.duplicates == 0


def test_rows_that_are_alike_are_duplicates_and_overlaps(load):
    same = "size,colour,label\n1,red,yes\n1.0,red ,no\n-0,blue,no\n0,blue,yes\n"
    splits = load(same, "colour,size,label\nred,1e0,no\nred,2,no\n")
    assert splits.train.duplicates == 2
    assert overlap(splits.train, splits.test).tolist() == [0]


def test_cells_cannot_be_moved_over_the_border_between_columns(load):
    content = "one,two,label\nab,c,yes\na,bc,no\nab,c,no\na,bc,no\n"
    splits = load(content, content)
    assert splits.train.groups.unique().numel() == 2


def test_a_share_is_held_out_by_content_whatever_the_order(write):
    content = table(60, size=lambda row: row * 1.5, colour=lambda row: "rgb"[row % 3])
    head, *lines = content.split("\n")
    one = Rows(path=write(content), test_share=0.25).load()
    other = Rows(path=write("\n".join([head, *lines[::-1]]), "other.csv"), test_share=0.25).load()
    assert (len(one.train), len(one.test), one.official) == (45, 15, False)
    assert set(map(bytes, one.test.keys.numpy())) == set(map(bytes, other.test.keys.numpy()))
    assert len(overlap(one.train, one.test)) == 0
    known = one.train.inputs[:, 0].double()
    assert one.preprocess.columns[0].mean == pytest.approx(known.mean().item())


# --- roles -----------------------------------------------------------------------------------------------------------


GUESSED = {
    "measure": (lambda row: row * 0.5, "numeric"),
    "count": (lambda row: row % 7, "numeric"),
    "year": (lambda row: 1900 + row * row, "numeric"),
    "colour": (lambda row: "rgb"[row % 3], "categorical"),
    "truth": (lambda row: row % 3 == 0, "categorical"),
    "customer_id": (lambda row: row * row, "ignore"),
    "number": (lambda row: 17 + row, "ignore"),
    "code": (lambda row: f"x{row}", "ignore"),
    "same": (lambda _: "one", "ignore"),
    "empty": (lambda _: "", "ignore"),
    "words": (lambda row: f"a long sentence with the number {row} in it", "ignore"),
    "town": (lambda row: f"t{row // 2}", "ignore"),
}


def test_roles_are_guessed_and_told(load):
    rows = 2400
    content = table(rows, **{name: make for name, (make, _) in GUESSED.items()})
    splits = load(content, content)
    assert role_of(splits) == {name: role for name, (_, role) in GUESSED.items()}
    why = {column["name"]: column["why"] for column in splits.facts["columns"]}
    assert why["same"] == "one value"
    assert why["town"] == "1,200 values, more than 1,000"
    assert why["words"].startswith("texts beside other columns")
    assert splits.facts["label"] == {"name": "label", "why": "guessed"}
    assert splits.train.input_shape == (5,)


def test_roles_may_be_set(load):
    content = table(30, grade=lambda row: row % 4, number=lambda row: row, other=lambda row: row * 0.5)
    splits = load(content, content, roles={"grade": "categorical", "number": "numeric", "other": "ignore"})
    assert role_of(splits) == {"grade": "categorical", "number": "numeric"}
    assert splits.preprocess.columns[0].vocabulary == ("0", "1", "2", "3")
    assert {column["why"] for column in splits.facts["columns"]} == {"given"}


def test_one_column_of_text_is_stored_as_its_bytes(load):
    content = table(20, id=lambda row: row, review=lambda row: f"né, this was film number {row}".replace(",", ""))
    splits = load(content, "review,label\nné very long indeed and longer than any before it,a\n,b\n")
    assert role_of(splits) == {"id": "ignore", "review": "text"}
    assert texts_of(splits.train.inputs)[3] == "né this was film number 3"
    assert splits.train.inputs.dtype == torch.uint8
    assert texts_of(splits.test.inputs) == ["né very long indeed and lo", ""]
    assert splits.facts["texts_cut"] == [0, 1]
    short = load(content, content, text_bytes=2)
    assert texts_of(short.train.inputs)[0] == "n"
    assert short.facts["texts_cut"] == [20, 20]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"roles": {"size": "text"}}, "the column size of .* is text beside colour"),
        ({"roles": {"nobody": "numeric"}}, "has no column nobody; it has size, colour, label"),
        ({"roles": {"label": "numeric"}}, "has no column label"),
        ({"roles": {"size": "ignore", "colour": "ignore"}}, "no column to learn from"),
        ({"roles": {"colour": "numeric"}}, "3 of 4 cells of the column colour .* the first in row 1: 'red'"),
        ({"label": "nobody"}, "has no column nobody"),
        ({"label": "size"}, "has 3 values in 3 rows, fractions among them"),
    ],
)
def test_roles_that_cannot_be_are_refused(load, settings, words):
    with pytest.raises(DataError, match=words):
        load(**settings)


def test_a_word_among_numbers_is_named(load):
    content = table(40, size=lambda row: "about 7" if row == 12 else row * 0.5)
    with pytest.raises(DataError, match=r"1 of 40 cells .* row 13: 'about 7'"):
        load(content)
    assert load(content, content, missing=("about 7",)).train.inputs.isnan().sum() == 1
    with pytest.raises(DataError, match=r"test\.csv hold no number, the first in row 2: 'red'"):
        load(test="size,colour,label\n1,red,no\nred,1,yes\n")


@pytest.mark.parametrize("number", ["1e39", "-1e400"])
def test_a_number_beyond_float32_is_named(load, number):
    with pytest.raises(DataError, match="beyond those of float32, the first in row 2"):
        load(PLAIN.replace("2.5", number))


def test_too_many_categories_are_refused_only_where_they_were_asked_for(load):
    content = table(10_400, town=lambda row: f"t{row % 10_200}", size=lambda row: row / 8)
    assert role_of(load(content, content)) == {"town": "ignore", "size": "numeric"}
    with pytest.raises(DataError, match=r"town of .* has 10,200 values"):
        load(content, content, roles={"town": "categorical"})


# --- odd and hostile files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "Empty CSV file"),
        ("a,label\n", "has no rows"),
        ("a,b,label\n1,2,x\n1,x\n", r"Row #3: Expected 3 columns, got 2"),
        ("a,label\n1,x\n1,2,y\n", r"Row #3: Expected 2 columns, got 3"),
        ("a,a,label\n1,2,x\n", "more than one column named a"),
        ("a, a,label\n1,2,x\n", "more than one column named a"),
        ("label\nx\ny\n", "no column to learn from beside the label label"),
        ("a,label\n1,x\n2,x\n", "the classes are x"),
        ("a,label\n1,\n2,?\n", "the classes are none"),
        ("a,label\n5,x\n5,y\n", r"no column to learn from .*\(a: one value\)"),
        ("a,label\n,x\n?,y\n", r"a: no value"),
        ("a,price\n1,2.5\n2,3.5\n", "the column price .* fractions among them"),
        ("a,name\n" + "".join(f"{n / 2},n{n}\n" for n in range(20)), "has 20 values in 20 rows"),
        ("a,label\n1,x\n2,\xe9\n".encode("latin-1"), "invalid UTF8"),
        ("a,label\n1,x\n2,y\n".encode("utf-16"), "cannot be read|no column"),
        ("a,label\n1,x\n2,\0\xff\n".encode("latin-1"), "invalid UTF8"),
        (b"PAR1" + b"\0" * 40, "cannot be read"),
        (b"PAR1", "cannot be read"),
        (b"\x1f\x8b\x08" + b"\0" * 40, "cannot be read"),
        (b"PK\x03\x04" + b"\0" * 40, "a zip archive"),
        (b"\x80\x04\x95hello", "a pickle"),
        (b"," * 20_000 + b"\n", "more than 10,000 columns"),
    ],
)
def test_a_file_that_is_no_table_is_refused(write, content, words):
    with pytest.raises(DataError, match=words):
        Rows(path=write(content)).load()


def test_a_torn_compressed_file_is_refused(write, tmp_path):
    whole = gzip.compress(table(500, size=lambda row: row * 0.37).encode())
    (tmp_path / "torn.csv.gz").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in refusal(str(tmp_path / "torn.csv.gz"))


def test_a_bomb_stops_at_the_memory_of_the_machine(write, monkeypatch):
    monkeypatch.setattr(tabular, "most_bytes", lambda: 1 << 20)
    path = write("a,label\n" + "1,x\n" * 1_000_000, "train.csv.gz")
    assert "more than 1,048,576 bytes of text" in refusal(path)


def test_a_parquet_file_is_refused_by_what_it_declares(tmp_path, monkeypatch):
    monkeypatch.setattr(tabular, "most_bytes", lambda: 1 << 16)
    ones = pa.table({"a": pa.array(np.ones(1_000_000)), "label": pa.array(["x"] * 1_000_000)})
    parquet.write_table(ones, tmp_path / "bomb.parquet")
    assert (tmp_path / "bomb.parquet").stat().st_size < 1 << 16
    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", None)
    assert "1,000,000 rows of 2 columns" in refusal(str(tmp_path / "bomb.parquet"))


def test_a_long_text_repeated_in_parquet_takes_the_room_of_one(tmp_path):
    texts = pa.DictionaryArray.from_arrays(pa.array([row % 2 for row in range(50_000)]), ["x" * 200_000, "y"])
    columns = {"a": texts, "b": [float(row % 9) for row in range(50_000)], "label": [row % 2 for row in range(50_000)]}
    parquet.write_table(pa.table(columns), tmp_path / "long.parquet", store_schema=False)
    splits = Rows(path=str(tmp_path / "long.parquet")).load()
    assert splits.train.input_shape == (2,)


def test_columns_of_other_types_are_named_unless_ignored(tmp_path):
    columns = {"when": pa.array([1, 2, 3, 4], pa.timestamp("s")), "a": [1.5, 2, 3, 9], "label": ["x", "y", "x", "y"]}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert "the column when of" in refusal(str(tmp_path / "t.parquet"))
    path = str(tmp_path / "t.parquet")
    assert Rows(path=path, test=path, roles={"when": "ignore"}).load().train.input_shape == (1,)


def test_parquet_numbers_truth_values_and_missing_ones(tmp_path):
    columns = {
        "whole": pa.array([1, None, 3, 4], pa.int8()),
        "part": pa.array([0.5, math.nan, -9.0, 4], pa.float32()),
        "truth": pa.array([True, False, None, True]),
        "label": pa.array([0, 1, 0, 1], pa.int64()),
    }
    path = str(tmp_path / "t.parquet")
    parquet.write_table(pa.table(columns), path)
    splits = Rows(path=path, test=path, missing=("", "-9")).load()
    expected = [[1, 0.5, 2], [math.nan, math.nan, 1], [3, math.nan, 0], [4, 4, 2]]
    np.testing.assert_array_equal(splits.train.inputs, expected)
    assert splits.train.classes == ("0", "1")


def test_labels_that_training_lacks_are_named(load):
    with pytest.raises(DataError, match=r"has 1 values that the training file lacks: yes\."):
        load(test=TEST.replace("yes", "yes."))


def test_a_test_file_without_a_column_is_refused(load):
    with pytest.raises(DataError, match=r"test\.csv has no column colour; it has size, label"):
        load(test="size,label\n1,yes\n")


@pytest.mark.parametrize(
    "settings", [{"delimiter": ",,"}, {"delimiter": ""}, {"delimiter": "\n"}, {"delimiter": "é"}, {"text_bytes": 0}]
)
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        Rows(path="p", **settings)
