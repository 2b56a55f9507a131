"""What lies where: a run, the search in it, the trials and proofs of that; and what of them is reported on."""

from pathlib import Path
from typing import Any

from limbeck.errors import DataError
from limbeck.files import check_format, read_json
from limbeck.record import LANDSCAPE, RECORD, SEARCH, read_record
from limbeck.report.parts import Record
from limbeck.rundir import ORIGIN

_HOLDS = {
    "format": int,
    "examples": int,
    "steps": int,
    "space": dict,
    "trials": list,
    "students": dict,
    "surface": dict,
    "plateau": dict,
    "importances": dict,
    "front": list,
}
_MAY_LACK = {"best": int, "own": int, "guess": int, "standard_error": float}


def search_around(directory: Path) -> Path | None:
    """The search that a directory is, or is a part of, as a trial or a proof is; None if there is none.

    It is looked for in the directories above and in no file, which a stranger could have written.
    """
    here = directory.resolve()
    if not here.is_dir() or (here / ORIGIN).exists():  # a run stands for itself, wherever it lies
        return None
    return next((place for place in (here, *here.parents[:2]) if (place / SEARCH).exists()), None)


def record_of(directory: Path) -> Record:
    """The record that a directory is reported on by.

    Raises:
        DataError: it has none, or a damaged one; of a part of a search, or the run around it, the error names that.
    """
    inside = (path.parent for path in sorted(directory.glob(f"*/{SEARCH}")))
    search = search_around(directory) or next(inside, None)
    if search is None or (directory / RECORD).exists():
        return read_record(directory)
    over = (search / RECORD).exists()
    raise DataError(
        f"{directory} has no report of its own, only the search in {search}" if over else f"{search} is not over",
        expected="the directory of a run, of a search that is over, or of a proof in one",
        do=f"limbeck report {search}" if over else "end the search first: limbeck tune RECIPE --resume",
    )


def landscape_of(directory: Path) -> dict[str, Any]:
    """The content of landscape.json in the directory of a search.

    Raises:
        DataError: it is missing or damaged, or of a newer format.
    """
    path = directory / LANDSCAPE
    try:
        found = read_json(path)
    except DataError as error:
        raise _damaged(error.came) from None
    if not isinstance(found, dict):
        raise _damaged(f"{path} is no object")
    check_format(found, path)
    odd = [name for name, kind in _HOLDS.items() if not isinstance(found.get(name), kind)]
    odd += [name for name, kind in _MAY_LACK.items() if not isinstance(found.get(name, ""), kind | None)]
    if odd:
        raise _damaged(f"{path} lacks {', '.join(odd)}, or has something else there")
    return found


def _damaged(came: str) -> DataError:
    return DataError(
        came,
        expected="all that the search found, as limbeck wrote it",
        do="limbeck tune RECIPE --resume writes it anew",
    )
