"""A student made into bundles: converted, held to the student on the file itself, and only then delivered.

    student --convert--> file --run--> answers --parity, gate--> bundle

Dimension key: N examples, C classes.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.bundle import CARD, CONFIG, EXPORT, GOLDEN, LABELS, MODEL_FILES, PARITY, Golden, read_bundle
from limbeck.conversion.convert import on_disk
from limbeck.errors import DataError, GateError, LimbeckError, MissingError, RecipeError
from limbeck.export.card import Card
from limbeck.export.formats import FORMATS
from limbeck.export.gate import Gate, failures, few, refusal
from limbeck.export.making import beside_student, file_of, plain_file
from limbeck.export.speed import beside_float32
from limbeck.export.subject import Subject, subject_of
from limbeck.files import MANIFEST, commit_directory, describe, digest_tensors, disk_errors, encode
from limbeck.finished import Chosen, Finished
from limbeck.locks import locked
from limbeck.prediction import Predictor
from limbeck.progress import Progress, Watch
from limbeck.runtime.runner import runner
from limbeck.teachers import evenly

GOLDEN_EXAMPLES, GOLDEN_BYTES = 32, 2 * 2**20
"""Of a golden batch, at most; but two examples it has in any case."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivered:
    """A bundle that has passed its gate.

    Args:
        kind: its format.
        directory: where it lies.
        parity: as parity.json has it.
    """

    kind: str
    directory: Path
    parity: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What came of an export.

    Args:
        delivered: the bundles, in the order of the formats.
        refused: for each format that was not delivered, why.
    """

    delivered: tuple[Delivered, ...]
    refused: dict[str, LimbeckError]

    def raise_refused(self) -> None:
        """Say of each format that was not delivered why.

        Raises:
            LimbeckError: of the kind of the first.
        """
        if self.refused:
            first = next(iter(self.refused.values()))
            raise type(first)(
                "\n".join(error.came for error in self.refused.values()), expected=first.expected, do=first.do
            )


def export(
    run: Finished, kinds: Sequence[str], *, chosen: Chosen, licence: str | None, tolerance: Gate, watch: Watch
) -> Outcome:
    """Deliver a student of a run in some formats.

    A bundle replaces the one that was there. Where a file does not pass its gate nothing is left of that format; what
    is in the way of one format is not in that of the others.

    Args:
        run: which has ended.
        kinds: keys of `FORMATS`.
        chosen: the student.
        licence: of it, as its maker states it.
        tolerance: what int8 must meet.
        watch: told of progress.

    Raises:
        RecipeError: no such student, or data that can only be handed over in Python.
        DataError: a damaged student, or changed data.
        DiskError: a bundle cannot be written.
    """
    subject = subject_of(run, chosen, licence)
    delivered: list[Delivered] = []
    refused: dict[str, LimbeckError] = {}
    with locked(run.directory / EXPORT):
        for number, kind in enumerate(kinds):
            watch(Progress(f"export {kind}", number, len(kinds)))
            place = run.directory / EXPORT / kind
            try:
                delivered.append(_deliver(subject, kind, place, FORMATS[kind].gate(tolerance), watch))
            except GateError as error:
                _clear(place)
                refused[kind] = error
            except (RecipeError, DataError, MissingError) as error:
                refused[kind] = error
        watch(Progress("export", len(kinds), len(kinds)))
    return Outcome(tuple(delivered), refused)


def _deliver(subject: Subject, kind: str, place: Path, gate: Gate, watch: Watch) -> Delivered:
    measured, on = subject.run.data.measured, subject.run.data.facts["measured_on"]
    made = file_of(subject, kind, gate, watch)
    with on_disk(kind, made.data) as path:
        found = beside_student(subject, kind, path, measured, subject.of_measured)
        if why := failures(gate, found):
            raise refusal(kind, found, why, measured, on)
        golden = _golden(subject, kind, path)
        speed = _speed(subject, kind, path, golden.seen)
        notes = [made.how, speed.get("sentence"), few(gate, found)]
        facts = {
            **{"arm": subject.arm, "seed": subject.seed, "on": on, **describe(path), **asdict(found)},
            **{"gate": asdict(gate), "speed": speed, "notes": [note for note in notes if note]},
        }
    contents = {
        MODEL_FILES[kind]: made.data,
        CONFIG: encode(_config(subject, kind, made.facts)),
        LABELS: encode(dict(enumerate(subject.description.classes))),
        GOLDEN: golden.encode(),
        PARITY: encode(facts),
        CARD: str(Card(subject, kind, facts, made.facts)).encode(),
    }
    commit_directory(place, contents)
    try:
        Predictor.opened(read_bundle(place))  # as those will who ask it, without torch
    except BaseException:
        _clear(place)
        raise
    _log.info("%s: %s", kind, facts)
    return Delivered(kind, place, facts)


def _config(subject: Subject, kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json says: the description, and how the file was made."""
    by_keys = {"calibration_keys": digest_tensors({"keys": subject.calibration_keys})}
    quantised = by_keys if FORMATS[kind].quantised else {}
    return {"format": 1, "kind": kind, "description": subject.description.tree(), **facts, **quantised}


def _golden(subject: Subject, kind: str, path: Path) -> Golden:
    """Real examples evenly over the measured ones, as many as have room."""
    measured = subject.run.data.measured
    one = measured.inputs[:1]
    size = one.numel() * one.element_size() + 4 * subject.preprocess(one).numel()
    rows = evenly(len(measured), max(2, min(GOLDEN_EXAMPLES, GOLDEN_BYTES // size)))
    inputs = measured.inputs[rows]
    seen: NDArray[np.float32] = subject.preprocess(inputs).contiguous().numpy()
    return Golden(inputs.numpy(), seen, runner(kind, path, 1)(seen))


def _speed(subject: Subject, kind: str, path: Path, seen: NDArray[np.float32]) -> dict[str, Any]:
    """Of a quantised file, beside the same student in float32."""
    plain = FORMATS[kind].quantised
    if plain is None:
        return {}
    with on_disk(plain, plain_file(subject, plain).data) as other:
        return beside_float32(runner(kind, path, 1), runner(plain, other, 1), seen)


def _clear(place: Path) -> None:
    """Remove the bundle that was there, and nothing that somebody put beside its files."""
    names = {MANIFEST, CONFIG, LABELS, GOLDEN, PARITY, CARD, *MODEL_FILES.values()}
    with disk_errors(place):
        for path in (place / name for name in sorted(names, key=lambda name: name != MANIFEST)):
            path.unlink(missing_ok=True)
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
