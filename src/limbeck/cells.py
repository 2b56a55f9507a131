"""The cells of one column, as texts or as numbers.

Dimension key: N rows, V distinct values.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
"""What a cell that holds a number looks like."""


@dataclass(frozen=True, eq=False)
class Cells:
    """One column as it was read.

    Args:
        name: what a message calls it.
        places: [N] int32 among the values, -1 where the cell is missing.
        values: [V] distinct texts, without blanks at their ends, or distinct float64.
    """

    name: str
    places: NDArray[np.int32]
    values: "pa.Array"

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def missing(self) -> NDArray[np.bool_]:
        """[N]: where there is no value."""
        return self.places < 0

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """[V]: how often each value occurs."""
        return np.bincount(self.places[~self.missing], minlength=len(self.values))

    @property
    def distinct(self) -> int:
        """How many values occur."""
        return int((self.counts > 0).sum())

    @cached_property
    def value_numbers(self) -> NDArray[np.float64]:
        """[V] the values as numbers, NaN for words."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_floating(self.values.type):
            return np.asarray(self.values.to_numpy(), dtype=np.float64)
        numbers = np.full(len(self.values), np.nan)
        if len(numbers):
            are = pc.match_substring_regex(self.values, NUMBER)
            plain = pc.utf8_ltrim(self.values.filter(are), "+").cast("float64")
            numbers[are.to_numpy(zero_copy_only=False)] = plain.to_numpy()
        return numbers

    @property
    def words(self) -> int:
        """How many cells hold something that is no number."""
        return int(self.counts[np.isnan(self.value_numbers)].sum())

    def numbers(self) -> NDArray[np.float32]:
        """[N] float32, NaN where missing.

        Raises:
            DataError: a word, or a number that float32 does not hold; the row is named.
        """
        with np.errstate(over="ignore"):
            values = self.value_numbers.astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(values) & (self.counts > 0))
        if len(bad):
            row = int(np.flatnonzero(np.isin(self.places, bad))[0])
            what = "hold no number" if np.isnan(values[bad]).any() else "hold a number beyond those of float32"
            raise DataError(
                f"{int(self.counts[bad].sum()):,} of {len(self):,} cells of {self.name} {what}, the first in row "
                f"{row + 1:,}: {_shown(self.values[self.places[row]].as_py())}",
                expected="finite numbers, written with a point and without blanks",
                do="mend these cells, count the value among `missing`, or set the column's role in `roles` to "
                "categorical or ignore",
            )
        return np.where(self.missing, np.float32(np.nan), np.append(values, np.float32(np.nan))[self.places])

    def texts(self) -> list[str]:
        """[V] the values; numbers as they are written."""
        return [written(value) if isinstance(value, float) else value for value in self.values.to_pylist()]

    def select(self, rows: NDArray[np.int64]) -> "Cells":
        """The cells of an index [M]; values that do not occur in them stay."""
        return Cells(self.name, self.places[rows], self.values)


def cells_of(column: "pa.ChunkedArray", name: str, missing: Collection[str]) -> Cells:
    """The cells of a column of numbers, truth values or texts.

    Raises:
        DataError: of another type.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = _distinct(column, name).combine_chunks()
    if pa.types.is_floating(encoded.dictionary.type):
        values, places = encoded.dictionary, encoded.indices
        absent = pc.or_(pc.is_nan(values), pc.is_in(values, pa.array(_numbers(missing), pa.float64())))
    else:
        # Values that differ in blanks alone become one.
        stripped = pc.utf8_trim_whitespace(encoded.dictionary.cast(pa.string())).dictionary_encode()
        values, places = stripped.dictionary, stripped.indices.take(encoded.indices)
        absent = pc.is_in(values, pa.array(list(missing), pa.string()))
    places_N = places.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    places_N[np.isin(places_N, np.flatnonzero(absent.to_numpy(zero_copy_only=False)))] = -1
    return Cells(name, places_N, values)


def _distinct(column: "pa.ChunkedArray", name: str) -> "pa.ChunkedArray":
    """A column as a dictionary of texts or of float64."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    if pa.types.is_null(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.string()).dictionary_encode()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        # Unsafe only beyond 2^53, where float32 would round anyway.
        return column.cast(kind).cast(pa.float64(), safe=False).dictionary_encode()
    raise DataError(
        f"{name} holds {kind}",
        expected="numbers, truth values or texts",
        do="convert it, or set its role in `roles` to ignore",
    )


def _numbers(texts: Collection[str]) -> list[float]:
    return [float(text) for text in texts if re.match(NUMBER, text)]


def written(number: float) -> str:
    """A number as a text: a whole one without a point, so that a missing value in its column changes no name."""
    return str(int(number)) if number.is_integer() else repr(number)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
