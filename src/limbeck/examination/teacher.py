"""What is found about a teacher by its answers.

Dimension key: N examples, C classes.
"""

import math
from collections.abc import Iterator

from limbeck.errors import DataError
from limbeck.examination.alternatives import better_preprocess
from limbeck.examination.finding import Finding, note, ok, problem, warning
from limbeck.guess import guess
from limbeck.measurement import calibration_error, correct
from limbeck.teachers import (
    Asked,
    Gives,
    Logits,
    calibrate,
    exchanged,
    halves,
    look_at_answers,
    looks_like,
    suggested_temperatures,
)
from limbeck.training import Distill

TRAIN_FLATTERS = "it has usually seen these, which flatters it (data.validation holds some out)"


def look_at_teacher(asked: Asked, judged: Asked, distill: Distill, *, held_out: bool) -> Iterator[Finding]:
    """All that its answers tell; of one that answers wrongly not how sure it is.

    Args:
        asked: about training examples.
        judged: about those that accuracy and calibration are measured on.
        distill: whose temperature is held against the suggested ones.
        held_out: whether the latter are validation examples.
    """
    for number, member in enumerate(asked.members):
        for finding in _by_labels(member, held_out=False):
            yield Finding(**{**vars(finding), "name": f"member {number}: {finding.name}"})
    yield _form(asked)
    by_labels = list(_by_labels(judged, held_out=held_out))
    yield from by_labels
    if all(finding.severity != "problem" for finding in by_labels):
        yield from _calibration(judged, held_out)
        yield _temperature(asked, distill)


def _form(asked: Asked) -> Finding:
    """Logits, or what else."""
    gives: Gives = asked.teacher.gives
    likeness = looks_like(asked.logits_NC) if isinstance(gives, Logits) else None
    if likeness == "sigmoids":
        return warning(
            "answers",
            "all of its logits lie between 0 and 1, as after a sigmoid: softmax hardly tells classes apart then",
            "let the teacher return what goes into the sigmoid",
        )
    if likeness == "log-probabilities":
        return ok("answers", "log-probabilities, which are logits")
    return ok("answers", gives.name + (f", made into logits by {gives.rule}" if gives.rule else ""))


def _by_labels(judged: Asked, *, held_out: bool) -> Iterator[Finding]:
    known = judged.examples.labelled
    if not known.any():
        yield note(
            "accuracy", "no label to hold its answers against", "label some examples, or read what it says (peek)"
        )
        return
    yield _accuracy(judged, held_out)
    yield from _order(judged)


def _accuracy(judged: Asked, held_out: bool) -> Finding:
    known = judged.examples.labelled
    count, right = int(known.sum()), int(correct(judged.logits_NC, judged.examples.labels).sum())
    low, high = interval(right, count)
    where = "validation" if held_out else "training"
    says = f"right on {right / count:.1%} of {count:,} {where} examples (95 % interval {low:.1%} to {high:.1%})"
    try:
        found = look_at_answers(judged, allow_weak=False)
    except DataError as error:
        return problem("accuracy", error)
    says += f"; chance is {found['chance']:.1%}"
    if found["never_said"]:
        names = ", ".join(judged.examples.classes[label] for label in found["never_said"][:5])
        return warning("accuracy", f"{says}; it never names {names}", "look at its head and at the classes it learnt")
    return ok("accuracy", says) if held_out else note("accuracy", f"{says}; {TRAIN_FLATTERS}")


def _order(judged: Asked) -> Iterator[Finding]:
    """Exchanged outputs, or other preprocessing: whichever explains more of its mistakes."""
    known, classes = judged.examples.labelled, judged.examples.classes
    exchange = exchanged(judged.logits_NC[known].argmax(dim=1), judged.examples.labels[known], len(classes))
    better = better_preprocess(judged)
    if exchange is not None and (better is None or better.accuracy <= exchange.accuracy):
        yield Finding(
            name="class order",
            severity="problem",
            says=f"outputs look exchanged: with {exchange.words(classes)} it would be right on {exchange.accuracy:.1%}",
            do="reorder its outputs, or name them by `classes` where its kind takes them",
            status=DataError.exit_status,
        )
        return
    yield ok("class order", "no two outputs look exchanged")
    if better is None:
        yield ok("preprocess", "no usual other would be clearly better")
        return
    yield Finding(
        name="preprocess",
        severity="problem",
        says=f"with {better.words} it would be right on {better.accuracy:.1%}, not {better.now:.1%}, of "
        f"{better.examples} examples",
        do="set the teacher's preprocess to that with which it was trained",
        status=DataError.exit_status,
    )


def _calibration(judged: Asked, held_out: bool) -> Iterator[Finding]:
    known = judged.examples.labelled
    logits_NC, labels_N = judged.logits_NC[known].double(), judged.examples.labels[known]
    found = calibrate(logits_NC, labels_N)
    if found is None:
        return
    _, measured = halves(len(labels_N))
    right_N = correct(logits_NC, labels_N)[measured]

    def ece(temperature: float) -> float:
        p_NC = (logits_NC[measured] / temperature).softmax(dim=1)
        return calibration_error(p_NC.amax(dim=1), right_N)

    says = f"ECE {ece(1.0):.3f}, NLL {found.nll:.3f} on {found.examples:,} of these"
    if found.temperature is None:
        yield note("calibration", f"{says}; no temperature fits these labels best")
        return
    manner = "about as sure as it may be"
    if not 0.87 < found.temperature < 1.15:
        manner = "too sure of itself" if found.temperature > 1 else "surer than it says"
    says += (
        f"; it is {manner}: its probabilities fit best at temperature {found.temperature:.2g} "
        f"(ECE {ece(found.temperature):.3f}, NLL {found.nll_at_temperature:.3f})"
    )
    if held_out and manner == "too sure of itself":
        yield note("calibration", says, "raise distill.temperature with it: the student takes over its tone")
    else:
        yield ok("calibration", says)


def _temperature(asked: Asked, distill: Distill) -> Finding:
    found = suggested_temperatures(asked.logits_NC)
    if found is None:
        return note("temperature", "no temperature makes its doubts whisper: they are even, or minus infinity")
    low, high = found
    says = f"its doubts are heard at temperatures from {low:.2g} to {high:.2g}, by a rule of thumb"
    if distill.temperature == "auto":
        guessed = guess(asked.logits_NC, asked.examples.labels).temperature
        return ok("temperature", f"{says}; auto would be about {guessed:.2g}")
    own = _own_temperature(distill)
    if own is None:
        return ok("temperature", says)
    if low <= own <= high:
        return ok("temperature", f"{says}; the recipe has {own:g}")
    what = "hardly more than its first choice" if own < low else "nearly even"
    return note(
        "temperature", f"{says}; the recipe has {own:g}, where a soft label is {what}", "try one of these beside it"
    )


def _own_temperature(distill: Distill) -> float | None:
    """That of the objective at the first step; None where it has none, or divides other logits than these."""
    settings = vars(distill.objective)
    value = settings.get("temperature")
    return None if value is None or settings.get("standardise") else float(value)


def interval(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (1927, Journal of the American Statistical Association 22, 209 to 212)."""
    z, share = 1.96, right / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)
