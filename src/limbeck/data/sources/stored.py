"""From the cells of a table to what is stored of its rows: inputs, keys, labels.

Dimension key: N rows, K columns, V values, L bytes.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from limbeck.cells import Cells
from limbeck.data.encode import Column, Encode
from limbeck.data.sources.roles import Role
from limbeck.data.text import text_keys
from limbeck.errors import DataError, name_some
from limbeck.signal import UNLABELLED
from limbeck.tabular import Sheet

_CHUNK = 1 << 16  # rows whose cells are written out together
_LONG = 64  # bytes of a category
_MOST_CLASSES = 1000

Table = dict[str, Cells]
"""The columns that are used, by name."""


def keys_of(table: Mapping[str, Cells], roles: Mapping[str, Role]) -> Tensor:
    """Keys [N, 32] of rows: sha256 of their cells by name of column, whatever else the file holds, in any order.

    Numbers count as float32, as which they are stored; categories as texts, so that a vocabulary that grows changes no
    key.
    """
    if "text" in roles.values():
        return text_keys(texts_in(table))
    names = sorted(table)
    begun = hashlib.sha256(json.dumps([(name, roles[name]) for name in names]).encode())
    written = [_written(table[name], roles[name]) for name in names]
    digests = bytearray()
    for cells in zip(*written, strict=True):
        row = begun.copy()
        row.update(b"".join(cells))
        digests += row.digest()
    return torch.frombuffer(digests, dtype=torch.uint8).reshape(-1, 32)


def _written(cells: Cells, role: Role) -> Iterable[bytes]:
    """Each cell [N] in a form that no other cell has."""
    if role == "numeric":
        numbers = cells.numbers() + np.float32(0)  # -0 and 0 are one number
        for start in range(0, len(numbers), _CHUNK):
            for number in numbers[start : start + _CHUNK].tolist():
                yield b"\0" if number != number else b"\1" + struct.pack("<f", number)
        return
    values = [*map(_category, cells.texts()), b"\0"]
    for start in range(0, len(cells), _CHUNK):
        for place in cells.places[start : start + _CHUNK].tolist():
            yield values[place]


def _category(text: str) -> bytes:
    """A long one by its hash, so that no row takes long however often a text is repeated."""
    value = text.encode()
    if len(value) > _LONG:
        return b"\3" + hashlib.sha256(value).digest()
    return b"\2" + struct.pack("<I", len(value)) + value


def texts_in(table: Mapping[str, Cells]) -> list[str]:
    """The texts [N] of a table that has one column, empty where missing."""
    (cells,) = table.values()
    texts = [*cells.texts(), ""]
    return [texts[place] for place in cells.places.tolist()]


def learn_vocabularies(table: Mapping[str, Cells], roles: Mapping[str, Role]) -> Encode:
    """The columns of training rows in their order, categorical ones with the sorted values that occur."""
    return Encode(
        columns=tuple(
            Column(name=name, vocabulary=_occurring(cells) if roles[name] == "categorical" else None)
            for name, cells in table.items()
        )
    )


def stored_rows(table: Mapping[str, Cells], encode: Encode) -> Tensor:
    """Rows as they are stored, [N, K] float32: numbers, and the places of categories in their vocabularies."""
    parts = []
    for column in encode.columns:
        cells = table[column.name]
        if column.vocabulary is None:
            parts.append(cells.numbers())
        else:
            code_of = {value: code for code, value in enumerate(column.vocabulary, start=1)}
            codes_V = [code_of.get(value, 0) for value in cells.texts()]
            parts.append(np.array([*codes_V, 0], dtype=np.float32)[cells.places])
    return torch.from_numpy(np.stack(parts, axis=1))


def unknown_values(table: Mapping[str, Cells], encode: Encode) -> dict[str, int]:
    """How many cells of each categorical column hold a value that its vocabulary lacks, where there are any."""
    found = {}
    for column in encode.columns:
        cells, known = table[column.name], set(column.vocabulary or ())
        if column.vocabulary is not None:
            pairs = zip(cells.texts(), cells.counts.tolist(), strict=True)
            found[column.name] = sum(count for value, count in pairs if value not in known)
    return {name: count for name, count in found.items() if count}


def classes_of(sheet: Sheet, label: str) -> tuple[str, ...]:
    """The values of the label column that occur, sorted; by size if they are whole numbers.

    Raises:
        DataError: numbers that measure something, or as good as every row has a value of its own.
    """
    cells = sheet.cells[label]
    known = len(cells) - int(cells.missing.sum())
    numbers = cells.value_numbers[cells.counts > 0]
    measured = cells.words == 0 and bool((numbers != np.floor(numbers)).any())
    if measured or cells.distinct > _MOST_CLASSES or (cells.distinct > known / 2 and known > 10):
        raise DataError(
            f"the column {label} of {sheet.path} has {cells.distinct:,} values in {known:,} rows"
            + ", fractions among them" * measured,
            expected="a column of classes",
            do="name another column by `label`; limbeck learns no targets but classes",
        )
    found = _occurring(cells)
    return tuple(sorted(found, key=float)) if len(numbers) and cells.words == 0 else found


def labels_of(sheet: Sheet, label: str, classes: tuple[str, ...]) -> Tensor:
    """Labels [N] int64, `UNLABELLED` where the cell is missing.

    Raises:
        DataError: a value that is none of the classes.
    """
    cells = sheet.cells[label]
    place_of = {name: place for place, name in enumerate(classes)}
    unknown = sorted(set(_occurring(cells)) - set(classes))
    if unknown:
        raise DataError(
            f"the column {label} of {sheet.path} has {len(unknown)} values that the training file lacks: "
            f"{name_some(unknown)}",
            expected=f"one of {name_some(list(classes))}",
            do="write the labels of both files alike, or leave these rows out",
        )
    places = [place_of.get(value, UNLABELLED) for value in cells.texts()]
    return torch.from_numpy(np.array([*places, UNLABELLED])[cells.places])


def _occurring(cells: Cells) -> tuple[str, ...]:
    return tuple(sorted(text for text, count in zip(cells.texts(), cells.counts.tolist(), strict=True) if count))
