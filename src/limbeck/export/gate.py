"""How near a file must be to its student to be delivered."""

import math
from dataclasses import dataclass, replace

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

    Raises:
        ValueError: a share outside [0, 1], or a divergence below 0.
    """

    least_agreement: float
    most_divergence: float
    most_drop: float
    most_error: float | None = None

    def __post_init__(self) -> None:
        for name in ("least_agreement", "most_drop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share from 0 to 1, not {getattr(self, name)}")
        if self.most_divergence < 0:
            raise ValueError(f"most_divergence must be 0 or more, not {self.most_divergence}")


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
    changes = {
        "least_agreement": least_agreement,
        "most_drop": None if most_drop is None else most_drop / 100,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        return replace(QUANTISED, **given)
    except ValueError as error:
        raise RecipeError(
            str(error), expected="agreement as a share, 0.99 say, and a drop in points, 0.5 say", do="mend the option"
        ) from None


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


def refusal(kind: str, found: Parity, why: tuple[str, ...], classes: tuple[str, ...], on: str) -> GateError:
    """The end of an export whose file is not near enough, with the examples it is worst on."""
    in_line = tuple(" ".join(name.split()) for name in classes)  # a name may have line breaks
    worst = "; ".join(_named(one, in_line) for one in found.worst)
    return GateError(
        f"{kind} is not the student it was made of, on {found.examples:,} {on} examples: {'; '.join(why)}. "
        f"Worst: {worst}",
        expected="the student's answers, within the gate; nothing was delivered",
        do="look at these examples; allow more with --least-agreement and --most-drop, or deliver another format"
        if kind.endswith("int8")
        else "look at these examples, and report this as a bug with the model",
    )


def _named(one: dict[str, object], classes: tuple[str, ...]) -> str:
    student, file = classes[int(str(one["original"]))], classes[int(str(one["network"]))]
    label = "" if one["label"] is None else f", truly {classes[int(str(one['label']))]}"
    return f"example {one['row']} ({student} became {file}{label})"
