"""From a path that somebody gives to the student that lies there."""

from pathlib import Path

from limbeck.bundle import CONFIG, EXPORT, MODEL_FILES, read_bundle
from limbeck.errors import DataError, RecipeError, name_some
from limbeck.files import MANIFEST
from limbeck.prediction.predictor import Predictor
from limbeck.record import RECORD

_EXPECTED = "a bundle (RUN/export/onnx or the like), a run with one, or the model.onnx of one"
_PREFERRED = "onnx"
_MOST_THREADS = 1024


def load_bundle(path: str | Path, *, threads: int | None = None) -> Predictor:
    """A student as it was delivered, ready to answer; no torch is needed for an ONNX file.

    Args:
        path: of a bundle, of a run or its folder `export` with one bundle or one called onnx, or of a model.onnx alone.
        threads: that one batch is computed with; None is one a core.

    Raises:
        DataError: no bundle, a damaged one, or one that does not answer as when it was made.
        MissingError: the runtime of its format is not installed.
        RecipeError: a number of threads that cannot be.
    """
    if threads is not None and not (isinstance(threads, int) and 1 <= threads <= _MOST_THREADS):
        raise RecipeError(
            f"threads {threads!r}",
            expected=f"a whole number from 1 to {_MOST_THREADS:,}",
            do="leave it out, or set it to 1",
        )
    place = Path(path)
    if place.is_file():
        if place.suffix == ".onnx":
            return Predictor.of_file(place, threads=threads)
        raise DataError(f"{place} is a file", expected=_EXPECTED, do="give the folder that it lies in")
    return Predictor.opened(read_bundle(_directory(place)), threads=threads)


def _directory(place: Path) -> Path:
    if not place.is_dir():
        raise DataError(f"{place} does not exist", expected=_EXPECTED, do="check the path")
    if (place / CONFIG).is_file() and (place / MANIFEST).is_file():
        return place
    run = (place / RECORD).is_file()
    export = place / EXPORT if (place / EXPORT).is_dir() else place
    found = [kind for kind in MODEL_FILES if (export / kind / CONFIG).is_file()]
    if len(found) == 1 or _PREFERRED in found:
        return export / (_PREFERRED if _PREFERRED in found else found[0])
    if found:
        raise DataError(f"{export} holds {name_some(found)}", expected="one bundle", do=f"name it: {export / found[0]}")
    do = f"export the student first: limbeck export {place}" if run else "check the path; limbeck export makes bundles"
    raise DataError(f"{place} holds no bundle", expected=_EXPECTED, do=do)
