"""A table is read as the source `rows` reads it, without pyarrow and without torch."""

import csv
import gzip
import sys
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limbeck.data import Column, Encode
from limbeck.data.sources.stored import stored_rows as stored_by_source
from limbeck.data.sources.stored import texts_in, unknown_values
from limbeck.errors import DataError, MissingError
from limbeck.prediction.stored import stored_rows
from limbeck.prediction.tables import Written, rows_of
from limbeck.tabular import read_sheet

ENCODE = Encode(
    columns=(
        Column(name="hours"),
        Column(name="work", vocabulary=("1", "1.0", "a b", "field", 'häusl, "ich"', "office", "чай\nтри")),
        Column(name="gain"),
    )
)
TREE = [vars(column) for column in ENCODE.columns]
MISSING = ("", "?", "NA")

blanks = st.sampled_from(["", " ", "\t", "\u00a0", "\u3000 ", "\x1f"])
words = st.sampled_from([*(ENCODE.columns[1].vocabulary or ()), "?", "NA", "", "na", "1.", "new", "+1", "a  b", "'"])
readable = ["1", "1.0", "-1.", "+.5", "1e3", "1E-3", "?", "", "NA", "00012", "3.4028235677973365e+38", "1e-50", "-0"]
odd = ["0x1", "1_000", "nan", "inf", "1e400", "3.4028236e38", "-", "1,5", "١", "1e", "+-1", "1 000"]
numbers = st.sampled_from(readable * 20 + odd)


@st.composite
def tables(draw):
    """Rows with a column too many, written with or without quotes and ends of line of any kind."""
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    cells = st.tuples(numbers, st.just("label"), words, numbers)
    rows = draw(st.lists(cells, min_size=1, max_size=5))
    padded = [[draw(blanks) + cell + draw(blanks) for cell in row] for row in rows]
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    return delimiter, [["hours", "y", " work", "gain "], *padded], quoting, end, draw(st.booleans())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(tables())
def test_rows_are_stored_as_by_the_source(tmp_path, table):
    delimiter, rows, quoting, end, gaps = table
    path = tmp_path / "table.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        for row in rows:
            csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end).writerow(row)
            file.write(end * gaps)
    expected = unknown = came = found = None
    with suppress(DataError):
        sheet = read_sheet(path, names=None, delimiter=delimiter, missing=MISSING, unread=())
        expected, unknown = stored_by_source(sheet.cells, ENCODE).numpy(), unknown_values(sheet.cells, ENCODE)
    with suppress(DataError):
        wanted = [column.name for column in ENCODE.columns]
        read = list(rows_of(path, wanted, Written(delimiter=delimiter, missing=MISSING)))
        came, found = stored_rows(read, TREE, 1, path)
    assert (came is None) == (expected is None)
    if expected is not None:
        np.testing.assert_array_equal(came, expected)
        assert found == unknown


def test_blanks_are_those_of_the_source():
    letters = [chr(code) for code in range(1, 0x3100) if not 0xD800 <= code < 0xE000]
    source = pa.compute.utf8_trim_whitespace(pa.array([f"{letter}a" for letter in letters])).to_pylist()
    assert [f"{letter}a".strip() for letter in letters] == source


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_csv_file_may_be_compressed_and_begin_with_a_mark(tmp_path, compressed, mark):
    path = tmp_path / "table"
    data = f"{mark}a,b\n1,x\n".encode()
    path.write_bytes(gzip.compress(data) if compressed else data)
    assert list(rows_of(path, ["b", "a"], Written())) == [["x", "1"]]


def test_columns_may_be_named_beside_the_file(tmp_path):
    path = tmp_path / "table.csv"
    written = Written(columns=("a", "label", "b"))
    path.write_text("1,yes,2\n3,no,4\n")
    assert list(rows_of(path, ["b", "a"], written)) == [["2", "1"], ["4", "3"]]
    path.write_text("1,2\n3,4\n")
    assert list(rows_of(path, ["a", "b"], written)) == [["1", "2"], ["3", "4"]]


def test_a_parquet_file_is_read_as_by_the_source(tmp_path):
    path = tmp_path / "table.parquet"
    frame = {
        "work": pa.array([1.0, 2.5, None, 1.0]),
        "gain": pa.array([1, 2, None, 2**40]),
        "hours": pa.array(["1", " 2 ", "?", None]),
        "day": pa.array([0, 1, 2, 3], pa.date32()),
    }
    pyarrow.parquet.write_table(pa.table(frame), path)
    sheet = read_sheet(path, names=None, delimiter=",", missing=MISSING, unread=["day"])
    read = list(rows_of(path, ["hours", "work", "gain"], Written(missing=MISSING)))
    came, unknown = stored_rows(read, TREE, 1, path)
    np.testing.assert_array_equal(came, stored_by_source(sheet.cells, ENCODE).numpy())
    assert unknown == {"work": 1}


def test_without_pyarrow_a_parquet_file_names_the_command(tmp_path, monkeypatch):
    path = tmp_path / "table.parquet"
    pyarrow.parquet.write_table(pa.table({"a": [1]}), path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingError, match="pip install pyarrow"):
        list(rows_of(path, ["a"], Written()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,c\n1,2\n", "has no column b; it has a, c"),
        ("a,b,b\n1,2,3\n", "more than one column named b"),
        ("a,b\n1,2\n1\n", "has 1 cells in row 2, 2 columns"),
        ("", "has 0 bytes"),
        ("\n\n", "has no rows"),
        (b"a,b\n\xff,1\n", "cannot be read"),
        (b"PK\x03\x04 and so on", "is a zip archive"),
        (b"\x1f\x8b\x08 and so on", "cannot be read"),
        (b"PAR1 and so on", "cannot be read"),
    ],
)
def test_what_is_no_such_table_is_said_in_words(tmp_path, text, said):
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=said):
        list(rows_of(path, ["a", "b"], Written()))


def test_a_line_of_absurd_length_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.prediction.tables._MOST_LETTERS", 100)
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1," + "x" * 100)
    with pytest.raises(DataError, match="a line of 100 letters"):
        list(rows_of(path, ["a", "b"], Written()))


def test_a_row_that_holds_no_number_is_named(tmp_path):
    path = tmp_path / "table.csv"
    with pytest.raises(DataError, match=r"hours in row 12 of .* is no number: 'many'"):
        stored_rows([["1", None, None], ["many", None, None]], TREE, 11, path)


def test_texts_of_a_table_are_those_of_the_source(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('text,label\n" a ""b""",x\n?,x\n1.0,y\n')
    sheet = read_sheet(path, names=None, delimiter=",", missing=MISSING, unread=["label"])
    read = [cell or "" for (cell,) in rows_of(path, ["text"], Written(missing=MISSING))]
    assert read == texts_in(sheet.cells)
