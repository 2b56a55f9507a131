"""The file format of MNIST and its many relatives (yann.lecun.com/exdb/mnist), plain or gzip-compressed."""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limbeck.data.examples import key_examples
from limbeck.data.preprocess import Preprocess
from limbeck.data.sources.base import Splits, existing
from limbeck.data.sources.conversion import as_labels, numbered_classes
from limbeck.errors import DataError
from limbeck.foreign import refuse_bomb

_LAYOUT = (
    "a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte, each plain or .gz (`test-` and `.idx3-ubyte` are understood too)"
)
_UBYTE = 0x08  # the one data type that MNIST-like files use; the format also has int, float and double
_CHUNK = 1 << 20
_MOST_DIMENSIONS = 4


@dataclass(frozen=True, kw_only=True)
class Idx:
    """A folder of four IDX files.

    Args:
        path: the folder.
    """

    source: Literal["idx"] = "idx"
    path: str

    def load(self) -> Splits:
        """Inputs [N, 1, H, W] uint8 from idx3 files, [N, D] from idx2."""
        folder = existing(self.path, folder=True, expected=_LAYOUT)
        train_inputs, train_labels = _read_pair(folder, "train")
        test_inputs, test_labels = _read_pair(folder, "t10k", "test")
        classes = numbered_classes(train_labels, test_labels)
        return Splits(
            key_examples(train_inputs, train_labels, classes),
            key_examples(test_inputs, test_labels, classes),
            Preprocess(scale=255.0),
            official=True,
        )


def _read_pair(folder: Path, *prefixes: str) -> tuple[Tensor, Tensor]:
    """Images [N, 1, H, W] or rows [N, D], and labels [N] int64."""
    images_path = _find(folder, prefixes, "images", ("idx3", "idx2"))
    labels_path = _find(folder, prefixes, "labels", ("idx1",))
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim not in (2, 3) or labels.ndim != 1:
        raise DataError(
            f"{images_path} has {images.ndim} dimensions, {labels_path} has {labels.ndim}",
            expected="2 or 3 for images, 1 for labels",
            do="look whether the files were swapped or renamed",
        )
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} has {len(images)} images, {labels_path} has {len(labels)} labels",
            expected="as many images as labels",
            do="get both files from the same place again",
        )
    inputs = torch.from_numpy(images)
    return inputs[:, None] if images.ndim == 3 else inputs, as_labels(labels, str(labels_path))


def _find(folder: Path, prefixes: tuple[str, ...], kind: str, formats: tuple[str, ...]) -> Path:
    """The first of the usual names that exists; a plain file before a compressed one."""
    names = [
        f"{prefix}-{kind}{separator}{form}-ubyte{suffix}"
        for prefix in prefixes
        for form in formats
        for separator in "-."
        for suffix in ("", ".gz")
    ]
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise DataError(
            f"{folder} has no file {names[0]} or {names[1]}",
            expected=_LAYOUT,
            do="put the file there under one of these names, or correct `path`",
        )
    return found


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes.

    No more is decompressed than the header declares, and one byte, so a small file cannot fill the memory.

    Raises:
        DataError: not an IDX file, another type of data, or not exactly as many bytes as its header declares.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        magic = _read_up_to(stream, 4, path)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != _UBYTE or not 1 <= magic[3] <= _MOST_DIMENSIONS:
            raise DataError(
                f"{path} begins with the bytes {magic.hex(' ') or '(none)'}",
                expected="00 00 08 and the number of dimensions, 1 to 4: an IDX file of unsigned bytes",
                do="get the file again; a page or an error message may have been saved in its place",
            )
        header = _read_up_to(stream, 4 * magic[3], path)
        if len(header) < 4 * magic[3]:
            raise _wrong_length(path, "the header", 4 * magic[3], str(len(header)))
        shape = struct.unpack(f">{magic[3]}I", header)
        declared = math.prod(shape)
        if path.suffix == ".gz":
            refuse_bomb(path, declared, path.stat().st_size, "decompress it yourself if you trust it")
        values = _read_up_to(stream, declared, path, beyond=1)
    if len(values) != declared:
        found = f"at least {len(values)}" if len(values) > declared else str(len(values))
        raise _wrong_length(path, f"an array of shape {shape}", declared, found)
    return np.frombuffer(values, np.uint8).reshape(shape)


def _read_up_to(stream: BinaryIO | gzip.GzipFile, count: int, path: Path, *, beyond: int = 0) -> bytearray:
    """`count` bytes, and up to `beyond` more if they are there; fewer at the end of the file.

    Raises:
        DataError: a gzip file that is torn or damaged, were it only in its checksum.
    """
    found = bytearray()
    try:
        # `read1` hands over what a torn gzip stream still gave, where `read` would lose it with the error.
        while chunk := stream.read1(min(_CHUNK, count + beyond - len(found))):  # type: ignore[union-attr]
            found += chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path} cannot be decompressed after {len(found)} bytes: {error}",
            expected=f"a sound gzip file with {count} bytes here",
            do="get the file again; this copy is damaged or cut short",
        ) from error
    return found


def _wrong_length(path: Path, part: str, expected: int, found: str) -> DataError:
    return DataError(
        f"{path} has {found} bytes for {part}",
        expected=f"exactly {expected} bytes",
        do="get the file again; this copy is cut short or is not what its header says",
    )
