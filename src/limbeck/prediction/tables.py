"""The cells of a table, row by row, as the source `rows` reads them; a CSV file by the standard library."""

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from limbeck.errors import DataError, MissingError, first_line, name_some
from limbeck.foreign import foreign_file, looks_like

Cell = str | float | None
"""A text without blanks at its ends, a number of a Parquet file, or nothing."""
_MOST_LETTERS = 1 << 23  # of a line: what has no line ends would fill the memory
_KIND = "a table: a CSV file in UTF-8 (also .gz) or a Parquet file"
_TABLE = f"{_KIND}, written as the one that the student was trained on"


@dataclass(frozen=True)
class Written:
    """How a table is written: fields of the source `rows`.

    Args:
        delimiter: of a CSV file.
        missing: what a cell without a value holds.
        columns: the names of all columns, if the first row of a CSV file does not have them.
    """

    delimiter: str = ","
    missing: Sequence[str] = ()
    columns: Sequence[str] | None = None

    def cell(self, text: str) -> str | None:
        """A text as a cell."""
        stripped = text.strip()
        return None if stripped in self.missing else stripped


def rows_of(path: Path, wanted: Sequence[str], written: Written) -> Iterator[list[Cell]]:
    """The cells of some columns, in the order that is asked for, row by row.

    Raises:
        DataError: a lacking column, a row of another width, or a file that is no table.
        MissingError: a Parquet file, where there is no pyarrow.
    """
    foreign_file(path, what=_KIND, most=1 << 62)
    with path.open("rb") as file:
        begin = file.read(4)
    if begin == b"PAR1":
        yield from _parquet(path, wanted, written)
        return
    records = csv_records(path, written.delimiter)
    first = next(records, None)
    if first is None:
        raise _unusable(path, "has no rows")
    if written.columns is None:
        names: Sequence[str] = [name.strip() for name in first]
    else:
        names = written.columns if len(first) == len(written.columns) else wanted
        records = _again(first, records)
    places = _places(path, wanted, names)
    for number, record in enumerate(records, start=1):
        if len(record) != len(names):
            raise _unusable(path, f"has {len(record)} cells in row {number:,}, {len(names)} columns")
        yield [written.cell(record[place]) for place in places]


def column_names(path: Path, written: Written) -> list[str]:
    """The names in the first row of a CSV file."""
    return [name.strip() for name in next(csv_records(path, written.delimiter), [])]


def csv_records(path: Path, delimiter: str) -> Iterator[list[str]]:
    """The records of a CSV file, empty lines left out.

    Raises:
        DataError: no text in UTF-8, or a line of absurd length.
    """
    if (sign := looks_like(path)) and sign != "compressed":
        raise _unusable(path, f"is {sign}")
    with text_lines(path, _TABLE) as lines, _long_fields():
        try:
            yield from filter(None, csv.reader(lines, delimiter=delimiter))
        except csv.Error as error:
            raise _unusable(path, f"cannot be read: {first_line(error)}") from None


@contextmanager
def text_lines(path: Path, what: str) -> Iterator[Iterator[str]]:
    """The lines of a text in UTF-8, compressed or not, with their ends.

    Args:
        path: of the file.
        what: it should be, in errors.

    Raises:
        DataError: as a line is asked for, where it is damaged, no such text, or of absurd length.
    """
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    with (
        gzip.open(path) if compressed else path.open("rb") as binary,
        io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as text,
    ):
        yield _lines(path, text, what)


def _lines(path: Path, text: io.TextIOWrapper, what: str) -> Iterator[str]:
    while True:
        try:
            line = text.readline(_MOST_LETTERS)
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise _unusable(path, f"cannot be read: {first_line(error)}", what) from None
        if len(line) == _MOST_LETTERS:
            raise _unusable(path, f"has a line of {_MOST_LETTERS:,} letters or more", what)
        if not line:
            return
        yield line


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(_MOST_LETTERS)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _again(first: list[str], rest: Iterator[list[str]]) -> Iterator[list[str]]:
    yield first
    yield from rest


def _places(path: Path, wanted: Sequence[str], names: Sequence[str]) -> list[int]:
    counts = Counter(names)
    lacking = [name for name in wanted if counts[name] != 1]
    if lacking:
        came = "has no column" if counts[lacking[0]] == 0 else "has more than one column named"
        raise DataError(
            f"{path} {came} {name_some(lacking)}; it has {name_some(list(names))}",
            expected="the columns that the student was trained on, in any order, others beside them",
            do="mend the names; the first row of a CSV file has them",
        )
    place_of = {name: place for place, name in enumerate(names)}
    return [place_of[name] for name in wanted]


def _parquet(path: Path, wanted: Sequence[str], written: Written) -> Iterator[list[Cell]]:
    try:
        from limbeck.tabular import parquet_names, read_sheet

        names = parquet_names(path)
    except ImportError:
        raise MissingError(
            f"{path} is a Parquet file, and pyarrow is not installed",
            expected="pyarrow, or a CSV file",
            do="pip install pyarrow",
        ) from None
    _places(path, wanted, names)
    unread = set(names) - set(wanted)
    sheet = read_sheet(path, names=None, delimiter=written.delimiter, missing=written.missing, unread=unread)
    columns: list[Iterator[Any]] = []
    for name in wanted:
        values = [*sheet.cells[name].values.to_pylist(), None]
        columns.append(values[place] for place in sheet.cells[name].places.tolist())
    yield from (list(row) for row in zip(*columns, strict=True))


def batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Lists of so many items, the last of what is left."""
    while batch := list(islice(items, size)):
        yield batch


def _unusable(path: Path, why: str, what: str = _TABLE) -> DataError:
    return DataError(f"{path} {why}", expected=what, do="mend it, or get it again")
