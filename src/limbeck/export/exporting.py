"""A student made into bundles: converted, held to the student on the file itself, and only then delivered.

    student --convert--> file --run--> answers --parity, gate--> bundle

Dimension key: N examples, C classes.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limbeck.bundle import CARD, CONFIG, GOLDEN, LABELS, MODEL_FILES, PARITY, Golden, read_bundle, sealed_file
from limbeck.data import Examples
from limbeck.errors import GateError
from limbeck.export.card import card
from limbeck.export.formats import FORMATS
from limbeck.export.gate import Gate, failures, refusal
from limbeck.export.quantisation_aware import quantisation_aware
from limbeck.export.speed import beside_float32
from limbeck.export.subject import AT_ONCE, Subject, subject_of
from limbeck.files import MANIFEST, commit_directory, describe, disk_errors, encode, write_bytes
from limbeck.finished import Chosen, Finished
from limbeck.locks import locked
from limbeck.measurement import Parity, parity
from limbeck.prediction import Predictor
from limbeck.progress import Progress, Watch
from limbeck.runtime.runner import Runner, runner
from limbeck.teachers import evenly

EXPORT = "export"
"""The directory of a run in which its bundles lie, each under the name of its format."""
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


def export(
    run: Finished, kinds: Sequence[str], *, chosen: Chosen, licence: str | None, tolerance: Gate, watch: Watch
) -> list[Delivered]:
    """Deliver a student of a run in some formats.

    A bundle replaces the one that was there; where a file does not pass its gate nothing is left of that format, and
    the others are delivered all the same.

    Args:
        run: which has ended.
        kinds: keys of `FORMATS`.
        chosen: the student.
        licence: of it, as its maker states it.
        tolerance: what int8 must meet.
        watch: told of progress.

    Raises:
        GateError: of one or more formats, with the examples that each is worst on.
        RecipeError: no such student, or data that can only be handed over in Python.
        DataError: a damaged student, changed data, or a network that a format cannot hold.
        MissingError: an extra that a format needs.
    """
    subject = subject_of(run, chosen, licence)
    delivered: list[Delivered] = []
    refused: list[GateError] = []
    with locked(run.directory / EXPORT):
        for number, kind in enumerate(kinds):
            watch(Progress(f"export {kind}", number, len(kinds)))
            place = run.directory / EXPORT / kind
            _clear(place)
            try:
                delivered.append(_deliver(subject, kind, place, FORMATS[kind].gate(tolerance), watch))
            except GateError as error:
                refused.append(error)
        watch(Progress("export", len(kinds), len(kinds)))
    if refused:
        first = refused[0]
        raise GateError("\n".join(error.came for error in refused), expected=first.expected, do=first.do)
    return delivered


def _deliver(subject: Subject, kind: str, place: Path, gate: Gate, watch: Watch) -> Delivered:
    measured, on = subject.run.data.measured, subject.run.data.facts["measured_on"]
    made = _made(subject, kind, gate, watch)
    with _on_disk(kind, made.data) as path:
        run = runner(kind, path, torch.get_num_threads())
        found = parity(subject.of_measured, _answers(run, subject, measured), measured.labels)
        if why := failures(gate, found):
            raise refusal(kind, found, why, subject.description.classes, on)
        golden = _golden(run, subject)
        speed = _speed(subject, kind, path, golden.seen)
        facts = {**describe(path), "on": on, **asdict(found), "gate": asdict(gate), "made": made.how, "speed": speed}
    contents = {
        MODEL_FILES[kind]: made.data,
        CONFIG: encode({"format": 1, "kind": kind, "description": subject.description.tree(), **made.facts}),
        LABELS: encode(dict(enumerate(subject.description.classes))),
        GOLDEN: golden.encode(),
        PARITY: encode(facts),
        CARD: card(subject, kind, facts, made.facts).encode(),
    }
    commit_directory(place, contents)
    try:
        Predictor.opened(read_bundle(place))  # as those will who ask it, without torch
    except BaseException:
        _clear(place)
        raise
    _log.info("%s: %s", kind, facts)
    return Delivered(kind, place, facts)


@dataclass(frozen=True)
class _Made:
    """A file before it is measured.

    Args:
        data: its bytes.
        facts: of the conversion.
        how: it was quantised, in words; empty for a file in float32.
    """

    data: bytes
    facts: Mapping[str, Any]
    how: str = ""


def _made(subject: Subject, kind: str, gate: Gate, watch: Watch) -> _Made:
    """The file of a format; of int8 the first attempt that passes on the choosing examples.

    Raises:
        GateError: none does.
    """
    made = _converted(subject, kind, subject.network)
    if FORMATS[kind].quantised is None:
        return made
    ranges = f"ranges from {len(subject.calibration):,} training examples"
    why = failures(gate, _on_choosing(subject, kind, made))
    if not why:
        return replace(made, how=f"quantised after training, {ranges}")
    _log.info("%s after training alone: %s", kind, "; ".join(why))
    made = _converted(subject, kind, quantisation_aware(subject, watch))
    found = _on_choosing(subject, kind, made)
    if still := failures(gate, found):
        raise refusal(kind, found, still, subject.description.classes, "choosing")
    before = f"quantised after training alone it had {'; '.join(why)}, on {found.examples:,} choosing examples"
    return replace(made, how=f"by quantisation-aware distillation, {ranges}: {before}")


def _on_choosing(subject: Subject, kind: str, made: _Made) -> Parity:
    """An attempt beside the student on the choosing examples."""
    with _on_disk(kind, made.data) as path:
        run = runner(kind, path, torch.get_num_threads())
        return parity(subject.of_choosing, _answers(run, subject, subject.choosing), subject.choosing.labels)


def _converted(subject: Subject, kind: str, network: nn.Module) -> _Made:
    converted = FORMATS[kind].convert(network, subject.calibration, subject.description.metadata())
    return _Made(sealed_file(converted.data), converted.facts)


@contextmanager
def _on_disk(kind: str, data: bytes) -> Iterator[Path]:
    """The file as it will lie in its bundle, but where nobody takes it for one."""
    with tempfile.TemporaryDirectory(prefix="limbeck-") as place:
        path = Path(place) / MODEL_FILES[kind]
        write_bytes(path, data)
        yield path


def _answers(run: Runner, subject: Subject, examples: Examples) -> Tensor:
    """What a file says about examples, [N, C]."""
    seen = (subject.preprocess(part) for part in examples.inputs.split(AT_ONCE))
    return torch.cat([torch.from_numpy(run(part.contiguous().numpy())) for part in seen])


def _golden(run: Runner, subject: Subject) -> Golden:
    """Real examples evenly over the measured ones, as many as have room."""
    measured = subject.run.data.measured
    one = measured.inputs[:1]
    size = one.numel() * one.element_size() + 4 * subject.preprocess(one).numel()
    rows = evenly(len(measured), max(2, min(GOLDEN_EXAMPLES, GOLDEN_BYTES // size)))
    inputs = measured.inputs[rows]
    seen: NDArray[np.float32] = subject.preprocess(inputs).contiguous().numpy()
    return Golden(inputs.numpy(), seen, run(seen))


def _speed(subject: Subject, kind: str, path: Path, seen: NDArray[np.float32]) -> dict[str, Any]:
    """Of a quantised file, beside the same student in float32."""
    plain = FORMATS[kind].quantised
    if plain is None:
        return {}
    with _on_disk(plain, _converted(subject, plain, subject.network).data) as other:
        return beside_float32(runner(kind, path, 1), runner(plain, other, 1), seen)


def _clear(place: Path) -> None:
    """Remove the bundle that was there, and nothing that somebody put beside its files."""
    names = {MANIFEST, CONFIG, LABELS, GOLDEN, PARITY, CARD, *MODEL_FILES.values()}
    with disk_errors(place):
        for path in (place / name for name in sorted(names, key=lambda name: name != MANIFEST)):
            path.unlink(missing_ok=True)
