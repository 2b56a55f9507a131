"""What was delivered of a run: its bundles, each beside the student it was made of."""

from pathlib import Path
from typing import Any

from limbeck.errors import DataError
from limbeck.files import MANIFEST, read_json
from limbeck.report.parts import count, number, percent, table

_PLACES = f"export/*/{MANIFEST}"


def delivered_section(directory: Path) -> str:
    """The bundles of a run as a section of its report; nothing where there are none.

    Raises:
        DataError: what a bundle says of itself is damaged.
    """
    places = sorted(path.parent for path in directory.glob(_PLACES))
    if not places:
        return ""
    found = {place.name: _parity(place) for place in places}
    head = ("format", "bytes", "agreement %", "KL (nats)", "largest error of a logit", "accuracy %", "drop (points)")
    rows = [
        (
            name,
            count(each["bytes"]),
            number(each["agreement"], 100, 2),
            f"{each['divergence']:.2g}",
            f"{each['largest_error']:.2g}",
            number(each["accuracy"], 100, 2),
            number(each["drop"], 100, 2),
        )
        for name, each in found.items()
    ]
    one = next(iter(found.values()))
    note = (
        f"Each file was run on {one['examples']:,} {one['on']} examples and held to the student it was made of "
        f"({_accuracy(one)}); one that is too far from it is not delivered. All numbers and a card lie beside each."
    )
    told = [
        f"- {name}: {line}"
        for name, each in found.items()
        for line in (each["made"], each["speed"].get("sentence"))
        if line
    ]
    return "\n\n".join(filter(None, ("## Delivered", table(head, rows), note, "\n".join(told))))


def _accuracy(parity: dict[str, Any]) -> str:
    return f"accuracy in PyTorch {percent(parity['original_accuracy'], 2)}"


_HOLDS = (
    *("bytes", "examples", "on", "agreement", "divergence", "largest_error", "accuracy", "original_accuracy", "drop"),
    *("made", "speed"),
)


def _parity(place: Path) -> dict[str, Any]:
    found = read_json(place / "parity.json")
    if isinstance(found, dict) and set(_HOLDS) <= found.keys() and isinstance(found["speed"], dict):
        return found
    raise DataError(
        f"{place / 'parity.json'} lacks what limbeck export writes",
        expected="a whole bundle",
        do=f"export it again, or delete {place}",
    )
