"""The lines of a table of answers, read batch by batch in bounded memory.

Two layouts: *wide*, a line for each example and a column for each class; *long*, a line for each vote with its `label`.
Either names the example by `row` or `key`; a wide one may leave that out.

Dimension key: B lines of a batch, C classes of the data.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import DataError, name_some
from limbeck.foreign import PARQUET_LIMITS, foreign_file, library_errors, looks_like
from limbeck.record import memory_bytes
from limbeck.teachers.gives import columns_of

if TYPE_CHECKING:
    import pyarrow as pa

MOST_BYTES = 2**40
MOST_HEADER = 1 << 20
"""Bytes of the first line of a CSV file: 20,000 classes with long names."""
BLOCK = 1 << 23
"""Bytes of a CSV file that are parsed together; no line may be longer."""
BATCH = 1 << 14
"""Lines of a Parquet file that are decoded together."""
MOST_CELL = 4096
KEY = re.compile(r"[0-9a-fA-F]{64}")
_WHAT = "a table of answers: a Parquet file, or a CSV file in UTF-8 with a header and commas"


@dataclass(frozen=True)
class Batch:
    """Some lines.

    Args:
        where: [B] training rows, or keys as words of 32 bytes; None where the file does not say.
        values: [B, C] in the order of the data's classes, of a wide file.
        labels: [B] of a long file.
        annotators: [B] a number for each, of a long file that names them.
    """

    where: NDArray[Any] | None
    values: NDArray[np.float64]
    labels: NDArray[np.int64]
    annotators: NDArray[np.int64] | None


@dataclass(frozen=True)
class Lines:
    """A file that can be read once.

    Args:
        votes: whether each line is one vote.
        in_order: whether lines are the training examples in their order.
        batches: of lines.
    """

    votes: bool
    in_order: bool
    batches: Iterator[Batch]


def read_lines(path: Path, classes: Sequence[str], named: Sequence[str] | None, *, most: int) -> Lines:
    """Open a table of answers about the data's classes.

    Args:
        path: the file.
        classes: of the data.
        named: what its columns of classes are called, in their order, instead of what it says.
        most: lines.

    Raises:
        DataError: no such file, another kind of file, or columns that are not understood; later, while batches are
            read, cells that are no numbers, or more lines than `most`.
    """
    foreign_file(path, what=_WHAT, most=MOST_BYTES)
    with path.open("rb") as file:
        parquet = file.read(4) == b"PAR1"
    with _in_words(path):
        names = _names_in_parquet(path, most) if parquet else _names_in_csv(path)
    layout = _Layout(path, names, classes, named)
    tables = _of_parquet(path, layout) if parquet else _of_csv(path, layout)
    return Lines(layout.votes, layout.index is None, _batches(path, layout, tables, most))


class _Layout:
    """What the columns of a file are."""

    def __init__(self, path: Path, names: list[str], classes: Sequence[str], named: Sequence[str] | None) -> None:
        if len(names) < 2:  # what else such a file says is nobody's business
            raise _unusable(path, "has fewer than two columns")
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise _unusable(path, f"has two columns named {_some(twice)}")
        self.path, self.classes = path, classes
        indices = [name for name in ("key", "row") if name in names and name not in classes]
        if len(indices) > 1:
            raise _unusable(path, "has a column key and a column row")
        self.index = indices[0] if indices else None
        others = [name for name in names if name != self.index]
        self.votes = "label" in others and "label" not in classes
        self.annotator = "annotator" if self.votes and "annotator" in others else None
        self.columns = [] if self.votes else self._class_columns(others, named)
        if self.votes:
            self._check_long(others)
        self.number_of = {str(number): number for number in range(len(classes))}
        self.number_of |= {name: number for number, name in enumerate(classes)}
        self.annotators: dict[str, int] = {}

    @property
    def texts(self) -> list[str]:
        """Columns that are read as texts."""
        key = [self.index] if self.index == "key" else []
        return [*key, *(["label"] if self.votes else []), *([self.annotator] if self.annotator else [])]

    @property
    def wanted(self) -> list[str]:
        """All columns that are read."""
        return [*self.texts, *(["row"] if self.index == "row" else []), *self.columns]

    def _class_columns(self, others: list[str], named: Sequence[str] | None) -> list[str]:
        """The columns of the data's classes, in their order."""
        if named is not None:
            if len(named) != len(others):
                raise _unusable(self.path, f"has {len(others)} columns of classes, and `classes` names {len(named)}")
            own = list(named)
        elif set(others) == {str(number) for number in range(len(self.classes))}:
            own = [self.classes[int(name)] for name in others]
        else:
            own = others
        strange = [name for name in own if name not in set(self.classes)]
        if strange:
            raise _unusable(
                self.path, f"has the columns {_some(strange)}, which are no classes of the data ({_some(self.classes)})"
            )
        places = columns_of(own, self.classes, f"the table {self.path}") or range(len(own))
        return [others[place] for place in places]

    def _check_long(self, others: list[str]) -> None:
        strange = [name for name in others if name not in ("label", "annotator")]
        if strange or self.index is None:
            came = f"also the columns {_some(strange)}" if strange else "no column row or key"
            raise _unusable(self.path, f"has a column label, a vote in each line, and {came}")


# --- files -----------------------------------------------------------------------------------------------------------


def _names_in_csv(path: Path) -> list[str]:
    with path.open("rb") as file:
        begin = file.readline(MOST_HEADER)
    sign = looks_like(path)
    if sign:
        raise _unusable(path, f"is {sign}")
    if not begin.endswith(b"\n"):
        raise _unusable(path, f"has no line of names within its first {MOST_HEADER:,} bytes")
    return [name.strip() for name in next(csv.reader(io.StringIO(begin.decode("utf-8-sig"))), [])]


def _of_csv(path: Path, layout: _Layout) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa
    from pyarrow import csv as reader

    texts = dict.fromkeys(layout.texts, pa.dictionary(pa.int32(), pa.string()))
    numbers = dict.fromkeys(layout.columns, pa.float64())
    names = _names_in_csv(path)
    convert = reader.ConvertOptions(column_types={**numbers, **texts, "row": pa.int64()}, include_columns=layout.wanted)
    read = reader.ReadOptions(use_threads=False, block_size=BLOCK, column_names=names, skip_rows=1)
    # A file object, since by a path the reader would unpack what is named .gz.
    with path.open("rb") as file:
        yield from reader.open_csv(pa.PythonFile(file, "r"), read, convert_options=convert)


def _names_in_parquet(path: Path, most: int) -> list[str]:
    from pyarrow import parquet

    with parquet.ParquetFile(path, **PARQUET_LIMITS) as file:
        about = file.metadata
        groups = [about.row_group(number).total_byte_size for number in range(about.num_row_groups)]
        if not 0 <= about.num_rows <= most:
            raise _unusable(path, f"declares {about.num_rows:,} lines, where at most {most:,} make sense")
        if groups and not 0 <= min(groups) <= max(groups) <= memory_bytes() // 3:
            raise _unusable(path, f"has a row group of {max(groups):,} bytes, more than a third of this memory")
        return [str(name) for name in file.schema_arrow.names]


def _of_parquet(path: Path, layout: _Layout) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetFile(path, **PARQUET_LIMITS) as file:
        kinds = {field.name: field.type for field in file.schema_arrow}
    words = [name for name in layout.texts if pa.types.is_string(kinds[name]) or pa.types.is_large_string(kinds[name])]
    whole = [name for name in (*layout.texts, "row") if name in kinds and pa.types.is_integer(kinds[name])]
    for name in layout.wanted:
        kind = kinds[name]
        counted = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        held = counted if name in layout.columns else name in whole or (name in words and name != "row")
        if not held and not (name in layout.texts and pa.types.is_dictionary(kind)):
            raise _unusable(path, f"has the column {name} of type {kind}")
    # As dictionaries, since a few bytes of a Parquet file can repeat a long text any number of times.
    with parquet.ParquetFile(path, read_dictionary=words, **PARQUET_LIMITS) as file:
        yield from file.iter_batches(BATCH, columns=layout.wanted)


# --- cells -----------------------------------------------------------------------------------------------------------


def _batches(path: Path, layout: _Layout, tables: Iterator["pa.RecordBatch"], most: int) -> Iterator[Batch]:
    began = 0
    with _in_words(path):
        for table in tables:
            if began + len(table) > most:
                raise _unusable(path, f"has more than {most:,} lines")
            yield _batch(layout, table, began)
            began += len(table)


def _batch(layout: _Layout, table: "pa.RecordBatch", began: int) -> Batch:
    count = len(table)
    values = np.empty((count, len(layout.columns)), dtype=np.float64)
    for place, name in enumerate(layout.columns):
        values[:, place] = table.column(name).to_numpy(zero_copy_only=False)
    labels = np.zeros(0, dtype=np.int64)
    if layout.votes:
        labels = _codes(layout, table, "label", began, layout.number_of.get)
    annotators = None
    if layout.annotator:
        known = layout.annotators
        annotators = _codes(layout, table, layout.annotator, began, lambda name: known.setdefault(name, len(known)))
    return Batch(_where(layout, table, began), values, labels, annotators)


def _where(layout: _Layout, table: "pa.RecordBatch", began: int) -> Any:
    if layout.index is None:
        return None
    column = table.column(layout.index)
    if column.null_count:
        raise _unusable(layout.path, f"has lines without a {layout.index}, the first after line {began}")
    if layout.index == "row":
        return column.to_numpy(zero_copy_only=False).astype(np.int64)
    texts, places = _texts(layout, column, began)
    strange = next((text for text in texts if not KEY.fullmatch(text)), None)
    if strange is not None:
        raise _unusable(layout.path, f"has the key {strange[:80]!r}, where 64 hexadecimal digits were expected")
    return np.array([bytes.fromhex(text) for text in texts], dtype="S32")[places]


def _codes(layout: _Layout, table: "pa.RecordBatch", name: str, began: int, code: Any) -> NDArray[np.int64]:
    """A number for each text [B] of a column; None is a text that has none."""
    column = table.column(name)
    if column.null_count:
        raise _unusable(layout.path, f"has lines without a {name}, the first after line {began}")
    texts, places = _texts(layout, column, began)
    codes = [code(text) for text in texts]
    if None in codes:
        strange = texts[codes.index(None)]
        raise _unusable(
            layout.path, f"has the {name} {strange[:80]!r}, which is no class of the data ({_some(layout.classes)})"
        )
    return np.array(codes, dtype=np.int64)[places]


def _texts(layout: _Layout, column: Any, began: int) -> tuple[list[str], NDArray[np.int64]]:
    """Distinct texts, and the place [B] of each cell among them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        column = pc.cast(column, pa.string()).dictionary_encode()
    texts = pc.cast(column.dictionary, pa.string())
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    if longest > MOST_CELL:
        raise _unusable(layout.path, f"has a cell of {longest:,} bytes after line {began}")
    return [text.strip() for text in texts.to_pylist()], column.indices.to_numpy(zero_copy_only=False).astype(np.int64)


# --- words -----------------------------------------------------------------------------------------------------------


def _in_words(path: Path) -> AbstractContextManager[None]:
    import pyarrow as pa

    kinds = (pa.ArrowException, csv.Error, ValueError, OSError, MemoryError)
    return library_errors(lambda why: _unusable(path, why), *kinds)


def _some(names: Sequence[str]) -> str:
    return name_some([name[:80] for name in names])


def _unusable(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} {why}",
        expected=f"{_WHAT}: a column for each class, and `row` or `key`; or `row` or `key`, `label` and `annotator`",
        do="mend it, or save it again; docs/recipe.md has the two layouts",
    )
