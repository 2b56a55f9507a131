"""Files of tables, CSV and Parquet, read into cells with bounded memory.

Dimension key: N rows, V distinct values.
"""

import gzip
import io
import zlib
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from limbeck.cells import Cells, cells_of
from limbeck.errors import DataError, name_some
from limbeck.foreign import PARQUET_LIMITS, library_errors, looks_like
from limbeck.record import memory_bytes

if TYPE_CHECKING:
    import pyarrow as pa

MOST_COLUMNS = 10_000
_KIND = "a table: a CSV file in UTF-8 (also .gz) whose rows have as many cells as the first, or a Parquet file"
_BLOCK = 1 << 23  # bytes of a CSV file that are parsed together; no row may be longer
_BATCH = 1 << 16  # rows of a Parquet file that are decoded together
_CELL = 16  # bytes that a cell takes while it is read, besides its text


@dataclass(frozen=True)
class Sheet:
    """A file as it was read.

    Args:
        path: the file.
        rows: how many.
        cells: its columns by name, in the order of the file.
    """

    path: Path
    rows: int
    cells: dict[str, Cells]


def read_sheet(
    path: Path, *, names: tuple[str, ...] | None, delimiter: str, missing: Collection[str], unread: Collection[str]
) -> Sheet:
    """All columns of a file but those that are not to be read.

    Args:
        path: its first bytes tell what it is.
        names: of the columns of a CSV file without a header.
        delimiter: of a CSV file.
        missing: what a cell without a value holds.
        unread: names of columns that are left out.

    Raises:
        DataError: damaged, of another kind, too large for this machine, without rows, or with a column that holds
            neither numbers nor texts.
    """
    with path.open("rb") as file, _in_words(path):
        begin = file.read(4)
        if begin == b"PAR1":
            columns, rows = _parquet(path, unread)
        else:
            columns, rows = _csv(path, begin[:2] == b"\x1f\x8b", names, delimiter, unread)
        if not rows:
            raise _unusable(path, "has no rows")
        cells = {name: cells_of(column, f"the column {name} of {path}", missing) for name, column in columns.items()}
    return Sheet(path, rows, cells)


def most_bytes() -> int:
    """Of text or of numbers that are read: with all that is made of them they fit this machine's memory."""
    return memory_bytes() // 16


# --- CSV -------------------------------------------------------------------------------------------------------------


class _Capped(io.RawIOBase):
    """A stream that ends in an error once it has given more bytes than fit."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile, path: Path) -> None:
        self.stream, self.path, self.left = stream, path, most_bytes()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview", /) -> int:  # type: ignore[override]
        chunk = self.stream.read(len(buffer))
        self.left -= len(chunk)
        if self.left < 0:
            raise _too_large(self.path, f"more than {most_bytes():,} bytes of text")
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _csv(
    path: Path, compressed: bool, names: tuple[str, ...] | None, delimiter: str, unread: Collection[str]
) -> tuple[dict[str, "pa.ChunkedArray"], int]:
    import pyarrow as pa
    from pyarrow import csv

    sign = None if compressed else looks_like(path)
    if sign:
        raise _unusable(path, f"is {sign}")
    read = csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=names)
    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with _opened(path, compressed) as stream:
        _check_width(path, stream.read(_BLOCK), delimiter)
    with _opened(path, compressed) as stream:
        found = csv.open_csv(stream, read, parse, csv.ConvertOptions(check_utf8=False)).schema.names
    stripped = tuple(name.strip() for name in found)
    _check_names(path, stripped, given=names is not None)
    kind = pa.dictionary(pa.int32(), pa.string())
    convert = csv.ConvertOptions(column_types=dict.fromkeys(found, kind))
    with _opened(path, compressed) as stream:
        batches = list(csv.open_csv(stream, read, parse, convert))
    schema = pa.schema([(name, kind) for name in found])
    table = pa.Table.from_batches(batches, schema).rename_columns(list(stripped)).unify_dictionaries()
    return {name: table[name] for name in stripped if name not in unread}, table.num_rows


@contextmanager
def _opened(path: Path, compressed: bool) -> Iterator[io.BufferedReader]:
    with gzip.open(path) if compressed else path.open("rb") as stream:
        yield io.BufferedReader(_Capped(stream, path), _BLOCK)


def _check_width(path: Path, begin: bytes, delimiter: str) -> None:
    """Refuse more columns than a parser should be asked to make room for."""
    if begin.split(b"\n", 1)[0].count(delimiter.encode()) >= MOST_COLUMNS:
        raise _too_large(path, f"more than {MOST_COLUMNS:,} columns")


def _check_names(path: Path, names: tuple[str, ...], *, given: bool) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _unusable(path, f"has more than one column named {name_some(twice)}")
    numbers = [name for name in names if name.replace(".", "", 1).lstrip("+-").isdecimal()]
    # Pixels and the like are counted, all but a label among them.
    counted = len(numbers) >= len(names) - 1 and numbers in (
        [str(n + first) for n in range(len(numbers))] for first in (0, 1)
    )
    if numbers and not counted and not given:
        raise DataError(
            f"the first row of {path} names columns {name_some(numbers)}",
            expected="names of columns in the first row",
            do="give the names by `columns` if the file begins with an example",
        )


# --- Parquet ---------------------------------------------------------------------------------------------------------


def parquet_names(path: Path) -> list[str]:
    """The names of the columns of a Parquet file.

    Raises:
        DataError: it cannot be read.
    """
    from pyarrow import parquet

    with _in_words(path), parquet.ParquetFile(path, **PARQUET_LIMITS) as file:
        names: list[str] = file.schema_arrow.names
        return names


def _parquet(path: Path, unread: Collection[str]) -> tuple[dict[str, "pa.ChunkedArray"], int]:
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetFile(path, **PARQUET_LIMITS) as file:
        schema, about = file.schema_arrow, file.metadata
        _check_names(path, tuple(schema.names), given=True)
        declared = [about.row_group(number).total_byte_size for number in range(about.num_row_groups)]
        if len(schema) > MOST_COLUMNS:
            raise _too_large(path, f"{len(schema):,} columns")
        bytes_declared = sum(declared) + _CELL * about.num_rows * len(schema)
        if min(declared, default=0) < 0 or not 0 <= bytes_declared <= 8 * most_bytes():
            raise _too_large(path, f"{about.num_rows:,} rows of {len(schema)} columns, {bytes_declared:,} bytes")
    wanted = [field for field in schema if field.name not in unread]
    texts = [field.name for field in wanted if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    # As dictionaries, since a few bytes of a Parquet file can repeat a long text any number of times.
    with parquet.ParquetFile(path, read_dictionary=texts, **PARQUET_LIMITS) as file:
        chosen = [field.name for field in wanted]
        batches = list(file.iter_batches(_BATCH, columns=chosen)) if chosen else []
    if not batches:
        return {}, about.num_rows
    table = pa.Table.from_batches(batches).unify_dictionaries()
    return {name: table[name] for name in table.column_names}, table.num_rows


# --- words -----------------------------------------------------------------------------------------------------------


def _in_words(path: Path) -> AbstractContextManager[None]:
    import pyarrow as pa

    kinds = (pa.ArrowException, gzip.BadGzipFile, EOFError, zlib.error, ValueError)
    return library_errors(lambda why: _unusable(path, why), *kinds)


def _unusable(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} {why}", expected=_KIND, do="mend it, or get it again; `delimiter` and `columns` say how it is written"
    )


def _too_large(path: Path, what: str) -> DataError:
    return DataError(
        f"{path} holds {what}",
        expected="a table that fits the memory of this machine several times",
        do="take a part of it; larger arrays can be given as numpy files, source `npy`",
    )
