"""What was delivered of a run: its bundles, each beside the student it was made of."""

from pathlib import Path
from typing import Any

from limbeck.bundle import PARITY, bundles_of
from limbeck.errors import DataError
from limbeck.files import read_json, verify
from limbeck.report.parts import count, number, table

_HEAD = (
    *("format", "student", "bytes", "examples", "agreement %", "KL (nats)", "largest error of a logit"),
    *("accuracy %", "in PyTorch %", "drop (points)"),
)
_NOTE = (
    "Each file was run on held-out examples and held to the student it was made of; one that is too far from it is not "
    "delivered. All numbers and a card lie beside each."
)


def delivered_section(directory: Path) -> str:
    """The bundles of a run as a section of its report; nothing where there are none. Damaged ones are named."""
    rows, told = [], []
    for place in bundles_of(directory):
        try:
            verify(place)
            found = read_json(place / PARITY)
            rows.append(_row(place.name, found))
            told += [f"- {place.name}: {note}" for note in found["notes"]]
        except DataError as damaged:
            told.append(f"- {place.name} is left out: {damaged.came}; export it again")
        except (KeyError, TypeError, ValueError):
            told.append(f"- {place.name} is left out: another limbeck made it; export it again")
    if not rows and not told:
        return ""
    return "\n\n".join(filter(None, ("## Delivered", table(_HEAD, rows), _NOTE, "\n".join(told))))


def _row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        f"{found['arm']}, seed {found['seed']}",
        count(found["bytes"]),
        f"{found['examples']:,} ({found['on']})",
        number(found["agreement"], 100, 2),
        f"{found['divergence']:.2g}",
        f"{found['largest_error']:.2g}",
        number(found["accuracy"], 100, 2),
        number(found["original_accuracy"], 100, 2),
        number(found["drop"], 100, 2),
    )
