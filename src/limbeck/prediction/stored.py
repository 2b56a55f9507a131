"""What files hold, as inputs are stored: in the shape and the type of a description.

Dimension key: N examples, C channels, H rows, W columns, L bytes.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.bundle import MOST_VALUES, Description
from limbeck.cells import NUMBER, written
from limbeck.errors import DataError, MissingError
from limbeck.prediction.tables import Cell

_AT_ONCE = 256
_CHANNELS_LAST = (0, 3, 1, 2)


def at_once(description: Description) -> int:
    """How many examples are read and answered together: fewer where each is large."""
    largest = max(math.prod(description.input_shape), math.prod(description.network_shape))
    return max(1, min(_AT_ONCE, MOST_VALUES // largest))


def stored_array(array: NDArray[Any], description: Description, name: str) -> NDArray[Any]:
    """A batch [N, ...] or one example, as stored inputs [N, ...].

    Grey images need no channel, and channels may come last where that cannot be mistaken.

    Raises:
        DataError: another shape or type, or a number that float32 does not hold.
    """
    dtype = "uint8" if array.dtype == np.uint8 else "float32"
    if array.dtype.kind not in "buif" or dtype != description.input_dtype:
        raise DataError(
            f"{name} has the type {array.dtype}",
            expected=f"{description.input_dtype}, as the student's data are stored",
            do=f"convert it, by .astype({description.input_dtype!r}), if its numbers mean the same",
        )
    shape = description.input_shape
    for batch in (array, array[None]):
        if batch.shape[1:] == shape:
            return _converted(batch, dtype, name)
        if len(shape) == 3 and shape[0] == 1 and batch.shape[1:] == shape[1:]:
            return _converted(batch[:, None], dtype, name)
        if len(shape) == 3 and batch.shape[1:] == (*shape[1:], shape[0]):
            return _converted(batch.transpose(_CHANNELS_LAST), dtype, name)
    raise DataError(
        f"{name} has the shape {list(array.shape)}",
        expected=f"[N, {', '.join(map(str, shape))}], or one example of it",
        do="resize or reshape it as the student's data were",
    )


def _converted(batch: NDArray[Any], dtype: str, name: str) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(batch, dtype=dtype)
    if batch.dtype.kind == "f" and batch.dtype.itemsize > stored.dtype.itemsize:
        beyond = np.argwhere(np.isinf(stored) & np.isfinite(batch))
        if len(beyond):
            place = tuple(beyond[0].tolist())
            raise DataError(
                f"row {place[0] + 1:,} of {name} holds {batch[place]}",
                expected="numbers of float32, which end at 3.4e38",
                do="mend this number, or scale them all as the student's data were",
            )
    return stored


def stored_images(paths: list[Path], description: Description) -> NDArray[Any]:
    """Image files [N, C, H, W], stretched to the size of the student's data, white as its data have it.

    Raises:
        DataError: files that do not decode.
        MissingError: there is no pillow.
    """
    try:
        from limbeck.decoding import decode_all
    except ImportError:
        raise MissingError(
            f"{paths[0]} is to be read, and pillow is not installed", expected="pillow", do="pip install pillow"
        ) from None
    channels, height, width = description.input_shape
    pixels = decode_all(paths, (height, width), "grey" if channels == 1 else "rgb")
    levels = description.inputs["levels"]
    if levels == 255 and description.input_dtype == "uint8":
        return pixels
    scaled = pixels.astype(np.float32) * np.float32(levels / 255)
    return scaled.round().clip(0, 255).astype(np.uint8) if description.input_dtype == "uint8" else scaled


def stored_texts(texts: Sequence[str], length: int, first: int, path: Path) -> tuple[NDArray[np.uint8], int]:
    """Texts as UTF-8 filled up with zeros, [N, L].

    Args:
        texts: N texts.
        length: L.
        first: the row of the first, in errors.
        path: the file, likewise.

    Returns:
        The inputs, and how many texts were longer and have lost their end, at the border of a character.

    Raises:
        DataError: a text with a NUL, which could not be told from the filling.
    """
    stored = np.zeros((len(texts), length), dtype=np.uint8)
    cut = 0
    for place, text in enumerate(texts):
        encoded = text.encode()
        if b"\0" in encoded:
            raise DataError(
                f"row {first + place:,} of {path} holds a NUL", expected="texts without NUL", do="mend or remove it"
            )
        if len(encoded) > length:
            cut += 1
            encoded = encoded[:length].decode(errors="ignore").encode()
        stored[place, : len(encoded)] = np.frombuffer(encoded, np.uint8)
    return stored, cut


def stored_rows(
    rows: Sequence[Sequence[Cell]], columns: Sequence[dict[str, Any]], first: int, path: Path
) -> tuple[NDArray[np.float32], Counter[str]]:
    """Rows of a table as numbers and the places of categories in their vocabularies, [N, K].

    Args:
        rows: N rows of K cells.
        columns: `columns` of `limbeck.data.Encode`.
        first: the number of the first row, in errors.
        path: the file, likewise.

    Returns:
        The inputs, and how many cells of each categorical column hold a value that its vocabulary lacks.

    Raises:
        DataError: a word where a number is expected, or a number that float32 does not hold.
    """
    stored = np.empty((len(rows), len(columns)), dtype=np.float32)
    unknown: Counter[str] = Counter()
    for place, column in enumerate(columns):
        cells = [row[place] for row in rows]
        if column["vocabulary"] is None:
            stored[:, place] = [
                number_in(cell, f"{column['name']} in row {row:,} of {path}") for row, cell in enumerate(cells, first)
            ]
            continue
        code_of = {value: code for code, value in enumerate(column["vocabulary"], start=1)}
        texts = [written(cell) if isinstance(cell, float) else cell for cell in cells]
        stored[:, place] = [0 if text is None else code_of.get(text, 0) for text in texts]
        unknown[column["name"]] += sum(text is not None and text not in code_of for text in texts)
    return stored, +unknown


def number_in(cell: Cell, where: str) -> float:
    """The number of a cell, NaN where it has none.

    Raises:
        DataError: a word, or a number that float32 does not hold.
    """
    if cell is None:
        return math.nan
    if isinstance(cell, str) and not re.fullmatch(NUMBER, cell):
        came = "is no number"
    else:
        number = float(cell)
        # Rounding of float32 takes what is nearer to its largest number than to the next one.
        if abs(number) < 2.0**128 - 2.0**103:
            return number
        came = "is beyond the numbers of float32"
    raise DataError(
        f"{where} {came}: {str(cell)[:60]!r}",
        expected="a finite number, written with a point and without blanks",
        do="mend this cell, or leave it empty",
    )
