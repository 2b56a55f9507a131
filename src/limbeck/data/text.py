"""Texts as they are stored: UTF-8, one byte a value, filled up with zeros.

Dimension key: N texts, L bytes.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import DataError

MOST_BYTES = 512
"""Of a text that is stored, unless something else is said."""


def text_bytes(texts: Sequence[str], most: int = MOST_BYTES) -> tuple[Tensor, int]:
    """Texts as stored inputs [N, L] uint8, L the bytes of the longest but at most `most`.

    Returns:
        The inputs, and how many texts were longer and have lost their end, at the border of a character.

    Raises:
        DataError: a text with a NUL, which could not be told from the filling, or with half a character.
    """
    encoded = [_utf8(text, place) for place, text in enumerate(texts)]
    kept = [text if len(text) <= most else text[:most].decode(errors="ignore").encode() for text in encoded]
    length = max(1, *map(len, kept)) if kept else 1
    stored = np.zeros((len(kept), length), dtype=np.uint8)
    for row, text in zip(stored, kept, strict=True):
        row[: len(text)] = np.frombuffer(text, np.uint8)
    return torch.from_numpy(stored), sum(len(text) > most for text in encoded)


def texts_of(inputs: Tensor) -> list[str]:
    """The texts in stored inputs [N, L]."""
    return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in inputs.to(torch.uint8).cpu().numpy()]


def text_keys(texts: Sequence[str]) -> Tensor:
    """Keys [N, 32] of whole texts: they stay what they are where other texts let all be stored longer."""
    digests = bytearray().join(hashlib.sha256(b"text\0" + text.encode()).digest() for text in texts)
    return torch.frombuffer(digests, dtype=torch.uint8).reshape(-1, 32)


def stored_texts(sides: Sequence[Sequence[str]], most: int = MOST_BYTES) -> tuple[list[Tensor], list[int]]:
    """The texts of the training set, and of the test set if there is one, all as long as those of the first.

    Returns:
        For each side its inputs [N, L], and how many of its texts have lost their end.
    """
    train, cut = text_bytes(sides[0], most)
    inputs, lost = [train], [cut]
    for side in sides[1:]:
        other, cut = text_bytes(side, train.shape[1])
        inputs.append(F.pad(other, (0, train.shape[1] - other.shape[1])))
        lost.append(cut)
    return inputs, lost


def _utf8(text: str, place: int) -> bytes:
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise _unusable(place, str(error.reason)) from None
    if b"\0" in encoded:
        raise _unusable(place, "it holds a NUL")
    return encoded


def _unusable(place: int, why: str) -> DataError:
    return DataError(
        f"text {place} cannot be stored: {why}",
        expected="texts of whole Unicode characters other than NUL",
        do="mend or remove it",
    )
