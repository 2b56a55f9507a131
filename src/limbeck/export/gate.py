"""How near a file must be to its student to be delivered."""

import math
from dataclasses import dataclass, replace
from typing import Any

from limbeck.data import Examples
from limbeck.errors import GateError, RecipeError
from limbeck.measurement import Parity


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a file must keep of its student on examples that neither was made from.

    One example alone is no reason against a file, however few there are, unless nothing at all may be lost.

    Args:
        least_agreement: the share of examples where the first choices are the same.
        most_divergence: KL(student ‖ file) at temperature 1, the mean in nats.
        most_drop: of the accuracy.
        most_error: of a logit, as a share of the range of the student's logits; None where the arithmetic is another.
    """

    least_agreement: float
    most_divergence: float
    most_drop: float
    most_error: float | None = None


EXACT = Gate(least_agreement=0.999, most_divergence=1e-6, most_drop=0.001, most_error=1e-4)
"""Of files that compute as the student does: what differs is the order of sums."""
QUANTISED = Gate(least_agreement=0.99, most_divergence=0.05, most_drop=0.005)
"""Of int8. The largest error of a logit says little there: one of 2.35 went with an agreement of 99.5 %."""


def tolerance(least_agreement: float | None, most_drop: float | None) -> Gate:
    """The gate of quantised files with what a user allows.

    Args:
        least_agreement: a share; None is the usual one.
        most_drop: of the accuracy, in points; None is the usual one.

    Raises:
        RecipeError: no share, or no number of points.
    """
    if least_agreement is not None and not 0 <= least_agreement <= 1:
        raise RecipeError(
            f"the least agreement is {least_agreement:g}", expected="a share from 0 to 1", do="write 0.99, say"
        )
    if most_drop is not None and not 0 <= most_drop <= 100:
        raise RecipeError(f"the most drop is {most_drop:g}", expected="points from 0 to 100", do="write 0.5, say")
    return replace(
        QUANTISED,
        least_agreement=QUANTISED.least_agreement if least_agreement is None else least_agreement,
        most_drop=QUANTISED.most_drop if most_drop is None else most_drop / 100,
    )


def failures(gate: Gate, found: Parity) -> tuple[str, ...]:
    """What of a gate a file does not meet, in words; none where it passes."""
    told = []
    if found.not_finite:
        told.append(f"{found.not_finite:,} answers are no numbers")
    if _beyond((1 - found.agreement) * found.examples, 1 - gate.least_agreement, found.examples):
        told.append(f"agreement {100 * found.agreement:.2f} %, at least {100 * gate.least_agreement:g} % wanted")
    if not found.divergence <= gate.most_divergence:
        told.append(f"divergence {found.divergence:.2g} nats, at most {gate.most_divergence:g} wanted")
    if found.drop is not None and _beyond(found.drop * found.labelled, gate.most_drop, found.labelled):
        told.append(f"accuracy {100 * found.drop:.2f} points lower, at most {100 * gate.most_drop:g} wanted")
    if gate.most_error is not None and found.largest_error > gate.most_error * max(found.range, 1.0):
        told.append(
            f"a logit differs by {found.largest_error:.2g}, at most {gate.most_error:g} of their range, "
            f"{found.range:.3g}, wanted"
        )
    return tuple(told)


def _beyond(lost: float, share: float, among: int) -> bool:
    """Whether more examples are lost than a share of so many; one is not too many where a share may be."""
    return round(lost) > max(math.floor(share * among + 1e-9), int(share > 0))


def few(gate: Gate, found: Parity) -> str:
    """That there are too few examples to tell, where one of them is a larger share than may be lost."""
    if found.examples * (1 - gate.least_agreement) >= 1:
        return ""
    least = f"{100 * gate.least_agreement:g} %"
    return f"{found.examples:,} examples are too few to show an agreement of {least}: one of them is a larger share"


def refusal(kind: str, found: Parity, why: tuple[str, ...], examples: Examples, on: str) -> GateError:
    """The end of an export whose file is not near enough, with the examples it is worst on.

    Args:
        kind: the format.
        found: on the examples.
        why: in words.
        examples: that file and student were asked about.
        on: what these are called.
    """
    classes = [" ".join(name.split()) for name in examples.classes]  # a name may have line breaks
    worst = "; ".join(_named(one, classes, examples) for one in found.worst)
    return GateError(
        f"{kind} is not the student it was made of, on {found.examples:,} {on} examples: {'; '.join(why)}. "
        f"Worst: {worst}",
        expected=f"the student's answers, within the gate; {kind} was not delivered",
        do="int8 is not recommended for this student: deliver float32, or allow more with --least-agreement and "
        "--most-drop"
        if kind.endswith("int8")
        else "look at these examples, and report this as a bug with the model",
    )


def _named(one: dict[str, Any], classes: list[str], examples: Examples) -> str:
    key = bytes(examples.keys[one["row"]].tolist()).hex()[:12]
    became = "no number" if one["network"] is None else classes[one["network"]]
    label = "" if one["label"] is None else f", truly {classes[one['label']]}"
    return f"example {one['row']} with key {key} ({classes[one['original']]} became {became}{label})"
