"""Files that strangers made: looked at with suspicion before any library sees them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from limbeck.errors import DataError, first_line

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib")
"""How files of picklers are named."""
_SIGNS = {b"PK\x03\x04": "a zip archive", b"\x80": "a pickle", b"\x1f\x8b": "compressed", b"BZh": "compressed"}
"""How a file begins, and what it then is."""
PARQUET_LIMITS = {"thrift_string_size_limit": 1 << 26, "thrift_container_size_limit": 1 << 26}
"""Bytes and members of a Parquet file's headers that are parsed."""
MOST_UNPACKED, MOST_RATIO = 64 * 2**20, 100
"""Bytes beyond which what is compressed may not grow by more than this: pixels and measurements never do."""


def foreign_file(path: Path, *, what: str, most: int) -> int:
    """The bytes of a file that a stranger may have made.

    Args:
        path: of the file.
        what: it should be, in errors, such as `a safetensors file`.
        most: bytes.

    Raises:
        DataError: no file, a device or a pipe, an empty or too large one.
    """
    try:
        regular, size = path.is_file(), path.stat().st_size
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", expected=what, do="check the path") from None
    except OSError as error:
        raise DataError(f"{path} could not be looked at: {error.strerror}", expected=what, do="mend it") from None
    if not regular:
        came = "a folder" if path.is_dir() else "a device or a pipe"
        raise DataError(f"{path} is {came}", expected=what, do="check the path")
    if not 0 < size <= most:
        raise DataError(
            f"{path} has {size:,} bytes",
            expected=f"{what} of 1 to {most:,} bytes",
            do="check that this is the file, and that its download was finished",
        )
    return size


def refuse_bomb(path: Path, unpacked: int, packed: int, do: str) -> None:
    """Refuse what would fill the memory when it is decompressed.

    Raises:
        DataError: likewise.
    """
    if unpacked > max(MOST_UNPACKED, MOST_RATIO * packed):
        raise DataError(
            f"{path} unpacks to {unpacked:,} bytes from {packed:,}",
            expected=f"at most {MOST_UNPACKED:,} bytes, or {MOST_RATIO} times as many as are packed",
            do=do,
        )


@contextmanager
def library_errors(unusable: Callable[[str], DataError], *kinds: type[Exception]) -> Iterator[None]:
    """What a library says of a file that it cannot read, as an error of ours.

    Args:
        unusable: makes it of why.
        kinds: of the library's errors.
    """
    try:
        yield
    except DataError:
        raise
    except kinds as error:
        raise unusable(f"cannot be read: {first_line(error, 300)}") from None


def looks_like(path: Path) -> str | None:
    """What a file is by its first bytes, if it is something that limbeck does not take for weights."""
    with open(path, "rb") as file:
        begin = file.read(4)
    return next((sign for magic, sign in _SIGNS.items() if begin.startswith(magic)), None)


def refuse_pickle(path: Path) -> None:
    """Refuse a file of torch or of another pickler by its name: reading one runs what is in it.

    Raises:
        DataError: likewise, with the way to a safetensors file.
    """
    if path.suffix.lower() in PICKLES:
        name = os.path.basename(path)
        raise DataError(
            f"{path} is a pickle by its name, which runs what is in it when it is read",
            expected="a safetensors file; limbeck reads no pickles",
            do="if you trust it, convert it once: import torch, safetensors.torch; safetensors.torch.save_file("
            f"{{k: v.clone() for k, v in torch.load({name!r}, weights_only=True, map_location='cpu').items()}}, "
            f"{path.stem + '.safetensors'!r})",
        )
