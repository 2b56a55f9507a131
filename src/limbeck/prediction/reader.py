"""Files read into stored inputs, batch by batch, by what a description says that an example is.

Dimension key: N examples.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, groupby
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.bundle import Description
from limbeck.cells import written
from limbeck.errors import DataError, name_some
from limbeck.foreign import foreign_file
from limbeck.numpy_files import mapped_npy, read_npz
from limbeck.prediction.stored import at_once, number_in, stored_array, stored_images, stored_rows, stored_texts
from limbeck.prediction.tables import Written, batches, column_names, csv_records, rows_of, text_lines

_log = logging.getLogger(__name__)

_ARRAYS = ("inputs", "images", "x", "x_test")
_TABLES = (".csv", ".csv.gz", ".parquet")
_TEXT = "a text file in UTF-8 (also .gz), a text a line, or a table"


@dataclass(frozen=True)
class Part:
    """Some examples of one file, or of some image files.

    Args:
        places: where each of N examples comes from: its file, and its row there from 1, None in an image file.
        inputs: [N, ...] as stored.
    """

    places: list[tuple[Path, int | None]]
    inputs: NDArray[Any]

    def name(self, place: int) -> str:
        """What an error calls an example."""
        path, row = self.places[place]
        return str(path) if row is None else f"row {row:,} of {path}"


class Reader:
    """Reads files, and counts what was not as the student knows it.

    Args:
        description: what an example is.
    """

    def __init__(self, description: Description) -> None:
        self.description = description
        self._at_once = at_once(description)
        self.unknown: Counter[str] = Counter()
        self.cut = 0
        table = {name: description.inputs[name] for name in ("delimiter", "missing") if name in description.inputs}
        self._written = Written(**table, columns=description.inputs.get("columns"))

    def parts(self, paths: Sequence[Path]) -> Iterator[Part]:
        """The examples of some files, in their order.

        Raises:
            DataError: a file that holds something else.
        """
        for images, some in groupby(paths, self._is_image):
            if images:
                yield from map(self._images, batches(iter(some), self._at_once))
            else:
                for path in some:
                    yield from self._parts_of(path)

    def tell(self) -> None:
        """Warn of what the student has not seen before, or will not see."""
        if self.unknown:
            listed = name_some([f"{name} ({count:,})" for name, count in self.unknown.items()])
            _log.warning("values that no training example had, read as missing: %s", listed)
        if self.cut:
            length = self.description.input_shape[0]
            _log.warning("%s texts of more than %s bytes have lost their end", f"{self.cut:,}", f"{length:,}")

    def _is_image(self, path: Path) -> bool:
        return self.description.inputs["kind"] == "images" and not _is_array(path)

    def _images(self, paths: list[Path]) -> Part:
        if self.description.inputs["levels"] is None:
            raise DataError(
                f"{paths[0]} cannot be read: the stored values of this student's data are no pixels from 0 to white",
                expected="a .npy or .npz file of examples as the student's data are stored",
                do="save them by numpy.save after what the training data went through",
            )
        for path in paths:
            foreign_file(path, what="an image, a .npz or a .npy file", most=1 << 40)
        return Part([(path, None) for path in paths], stored_images(paths, self.description))

    def _parts_of(self, path: Path) -> Iterator[Part]:
        kinds = {"rows": self._rows, "texts": self._texts, "numbers": self._numbers}
        read = self._array if _is_array(path) else kinds[self.description.inputs["kind"]]
        first = 1
        for inputs in read(path):
            yield Part([(path, first + place) for place in range(len(inputs))], inputs)
            first += len(inputs)
        if first == 1:
            raise DataError(f"{path} holds no examples", expected="one or more", do="look at the file")

    def _array(self, path: Path) -> Iterator[NDArray[Any]]:
        foreign_file(path, what="a .npz or .npy file", most=1 << 62)
        array, name = (mapped_npy(path, "one array of numpy"), "") if path.suffix.lower() == ".npy" else _only(path)
        stored = stored_array(array, self.description, f"{name} of {path}" if name else str(path))
        for start in range(0, len(stored), self._at_once):
            yield stored[start : start + self._at_once]

    def _rows(self, path: Path) -> Iterator[NDArray[Any]]:
        columns = self.description.preprocess["columns"]
        rows = rows_of(path, [column["name"] for column in columns], self._written)
        first = 1
        for some in batches(rows, self._at_once):
            stored, unknown = stored_rows(some, columns, first, path)
            self.unknown += unknown
            first += len(some)
            yield stored

    def _texts(self, path: Path) -> Iterator[NDArray[Any]]:
        texts = self._column_of_texts(path) if path.name.lower().endswith(_TABLES) else self._lines(path)
        first = 1
        for some in batches(texts, self._at_once):
            stored, cut = stored_texts(some, self.description.input_shape[0], first, path)
            self.cut += cut
            first += len(some)
            yield stored

    def _column_of_texts(self, path: Path) -> Iterator[str]:
        name = self.description.inputs.get("column")
        if name is None:
            names = [] if path.suffix == ".parquet" else column_names(path, self._written)
            name = names[0] if len(names) == 1 else "text"
        cells = (cell for (cell,) in rows_of(path, [name], self._written))
        return (written(cell) if isinstance(cell, float) else cell or "" for cell in cells)

    def _lines(self, path: Path) -> Iterator[str]:
        """Each line is a text; where those of the training data were cells of a table, as such a cell."""
        foreign_file(path, what=_TEXT, most=1 << 62)
        of_a_table = self.description.inputs.get("column") is not None
        with text_lines(path, _TEXT) as lines:
            for line in lines:
                text = line.rstrip("\r\n")
                yield (self._written.cell(text) or "") if of_a_table else text

    def _numbers(self, path: Path) -> Iterator[NDArray[Any]]:
        """A CSV file of numbers, in the order of the training data; a first row without any is passed over."""
        foreign_file(path, what="a .npz, .npy or CSV file of numbers", most=1 << 62)
        shape = self.description.input_shape
        records = csv_records(path, ",")
        first = next(records, [])
        if not _are_names(first):
            records = chain([first], records)
        for some in batches(enumerate(records, start=1), self._at_once):
            rows = [_numbers_in(cells, prod(shape), f"row {row:,} of {path}") for row, cells in some]
            yield stored_array(np.array(rows, np.float32).reshape(-1, *shape), self.description, str(path))


def _is_array(path: Path) -> bool:
    return path.suffix.lower() in (".npz", ".npy")


def _only(path: Path) -> tuple[NDArray[Any], str]:
    """The array of a .npz file that holds inputs, and its name."""
    arrays = read_npz(path, f"a .npz file with an array {' or '.join(_ARRAYS)}, or one array alone")
    name = next((name for name in (*_ARRAYS, *arrays) if name in arrays), None)
    if name is None or (name not in _ARRAYS and len(arrays) > 1):
        raise DataError(
            f"{path} holds {name_some(list(arrays)) or 'nothing'}",
            expected=f"an array {' or '.join(_ARRAYS)}, or one array alone",
            do="save the inputs under one of these names",
        )
    return arrays[name], name


def _are_names(cells: list[str]) -> bool:
    """Whether a row has words, and nothing that its writer could have meant for a number, NaN among them."""
    for cell in cells:
        with suppress(ValueError):
            float(cell)
            return False
    return any(cell.strip() for cell in cells)


def _numbers_in(cells: list[str], count: int, where: str) -> list[float]:
    if len(cells) != count:
        raise DataError(
            f"{where} has {len(cells)} cells",
            expected=f"{count} numbers, as each of the student's examples has",
            do="leave out other columns, such as labels",
        )
    return [number_in(cell.strip(), f"cell {place} in {where}") for place, cell in enumerate(cells, start=1)]
