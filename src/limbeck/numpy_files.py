"""Arrays in files of numpy that a stranger may have made."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import DataError, first_line
from limbeck.foreign import refuse_bomb


def read_npz(path: Path, expected: str) -> dict[str, NDArray[Any]]:
    """All arrays of a .npz file; pickled objects are refused, since reading them would run their code.

    Raises:
        DataError: another kind of file, a damaged one, or one that unpacks to absurdly much.
    """
    try:
        # Opened here, since numpy leaves a damaged file open.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array, not an archive of named arrays")
            members = archive.zip.infolist()  # type: ignore[union-attr]
            unpacked, packed = (sum(getattr(m, size) for m in members) for size in ("file_size", "compress_size"))
            refuse_bomb(path, unpacked, packed, "save it uncompressed, by numpy.savez, if you trust it")
            arrays = dict(archive)
    except DataError:
        raise
    except Exception as error:  # on damaged bytes zipfile and numpy raise nearly every type there is
        raise DataError(
            f"{path} cannot be read: {first_line(error)}",
            expected=f"{expected}, without pickled objects",
            do="save it again by numpy.savez; this file is damaged or of another kind",
        ) from error
    odd = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if odd:
        raise DataError(
            f"{path} holds {', '.join(odd)}, not as numpy writes arrays",
            expected=expected,
            do="save it again by numpy.savez",
        )
    return arrays


def mapped_npy(path: Path, expected: str) -> NDArray[Any]:
    """The array of a .npy file, read from the disk as it is needed.

    Raises:
        DataError: another kind of file, or a damaged one.
    """
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read: {first_line(error)}",
            expected=f"{expected}, without pickled objects",
            do="save it again by numpy.save; this file is damaged or of another kind",
        ) from error
    if isinstance(array, np.ndarray):
        return array
    array.close()
    raise DataError(f"{path} is an archive", expected=expected, do="save its arrays by numpy.save, or use npz")
