"""The file of a student in a format; of int8 by the ladder: after training, taught to bear it, refused.

Dimension key: N examples, C classes.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.bundle import sealed_file
from limbeck.conversion.convert import on_disk
from limbeck.data import Examples
from limbeck.export.formats import FORMATS
from limbeck.export.gate import Gate, failures, refusal
from limbeck.export.quantisation_aware import quantisation_aware
from limbeck.export.subject import AT_ONCE, Subject
from limbeck.measurement import Parity, parity
from limbeck.progress import Watch
from limbeck.runtime.runner import runner

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """A file before it is measured.

    Args:
        data: its bytes.
        facts: of the conversion.
        how: it was quantised, in words; empty for a file in float32.
    """

    data: bytes
    facts: Mapping[str, Any]
    how: str = ""


def file_of(subject: Subject, kind: str, gate: Gate, watch: Watch) -> Made:
    """The file of a format; of int8 the first attempt that passes on the choosing examples.

    Raises:
        GateError: none does; what both came to is told.
        RecipeError: a network that the format cannot hold.
        MissingError: an extra that the format needs.
    """
    made = plain_file(subject, kind)
    if FORMATS[kind].quantised is None:
        return made
    ranges = f"ranges from {len(subject.calibration):,} training examples"
    found = _on_choosing(subject, kind, made)
    why = failures(gate, found)
    if not why:
        return replace(made, how=f"quantised after training, {ranges}")
    after = f"quantised after training: {'; '.join(why)}"
    _log.info("%s %s", kind, after)
    taught = _converted(subject, kind, quantisation_aware(subject, watch))
    again = _on_choosing(subject, kind, taught)
    if still := failures(gate, again):
        both = (after, f"by quantisation-aware distillation: {'; '.join(still)}")
        nearer = min(found, again, key=lambda each: each.divergence)
        raise refusal(kind, nearer, both, subject.choosing, "choosing")
    return replace(taught, how=f"by quantisation-aware distillation, {ranges}, since {after}, on choosing examples")


def plain_file(subject: Subject, kind: str) -> Made:
    """The student as it is, in a format."""
    return _converted(subject, kind, subject.network)


def _converted(subject: Subject, kind: str, network: nn.Module) -> Made:
    converted = FORMATS[kind].convert(network, subject.calibration, subject.description.metadata())
    return Made(sealed_file(converted.data), converted.facts)


def _on_choosing(subject: Subject, kind: str, made: Made) -> Parity:
    """An attempt beside the student on the choosing examples."""
    with on_disk(kind, made.data) as path:
        return beside_student(subject, kind, path, subject.choosing, subject.of_choosing)


def beside_student(subject: Subject, kind: str, path: Path, examples: Examples, of_student: Tensor) -> Parity:
    """A file on the disk beside its student.

    Args:
        subject: the student.
        kind: the format of the file.
        path: of it.
        examples: N that both are asked about.
        of_student: [N, C] what the student says of them.
    """
    run = runner(kind, path, torch.get_num_threads())
    seen = (subject.preprocess(part) for part in examples.inputs.split(AT_ONCE))
    logits_NC = torch.cat([torch.from_numpy(run(part.contiguous().numpy())) for part in seen])
    return parity(of_student, logits_NC, examples.labels)
