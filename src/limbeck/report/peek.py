"""Peek: what the teacher says about one example, at several temperatures.

Dimension key: N stored examples, C classes, H rows and W columns of an image.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limbeck.data import UNLABELLED, Examples
from limbeck.errors import DataError, RecipeError
from limbeck.files import read_json
from limbeck.recipe import GivenData, read_recipe
from limbeck.report.places import search_around
from limbeck.rundir import ORIGIN, RESOLVED
from limbeck.teachers import read_answers, spread

TEMPERATURES = (1.0, 4.0, 10.0)
_BAR = 40
_SHADES = " ·:+*#@"


@dataclass(frozen=True)
class Answer:
    """The teacher's answer at one temperature: probabilities [C] and their entropy in bits."""

    temperature: float
    probabilities: tuple[float, ...]
    entropy_bits: float


@dataclass(frozen=True)
class Peek:
    """A teacher's answers about one example.

    Args:
        example: its number in the store.
        key: the beginning of its key, in hexadecimal.
        label: its true class, None where that is not known or the data are not at hand.
        classes: names in the order of the probabilities.
        answers: one for each temperature.
        picture: lines of characters, empty when the example is no image or not at hand.
    """

    example: int
    key: str
    label: str | None
    classes: tuple[str, ...]
    answers: tuple[Answer, ...]
    picture: tuple[str, ...]


def peek(run: Path, example: int | None = None, temperatures: tuple[float, ...] | None = None) -> Peek:
    """Look at one stored answer of a run.

    Args:
        run: the directory of the run, or of a search, a trial or a proof, whose labels lie in the run above.
        example: its number in the store; None takes the one with the loudest whisper, see `loudest_whisper`.
        temperatures: to look at, each above 0; None is 1, 4 and 10, or those at which a top-k store knows its tails.

    Raises:
        DataError: there is no label store.
        RecipeError: no such example, or a temperature that is not positive.
    """
    search = search_around(run)
    run = run if search is None else search.parent
    keys, signal, classes = read_answers(_store(run))
    if temperatures is None:
        temperatures = TEMPERATURES if signal.top is None else tuple(signal.top.tails)
    if not all(0 < t < float("inf") for t in temperatures):
        raise RecipeError(f"temperatures {temperatures}", expected="positive numbers", do="mend --temperature")
    logits_NC = spread(signal)
    number = loudest_whisper(logits_NC) if example is None else example
    if not 0 <= number < len(keys):
        raise RecipeError(
            f"example {number} of {len(keys):,}", expected=f"0 to {len(keys) - 1}", do="give another --example"
        )
    try:
        answers = tuple(_answer(spread(signal, t)[number], t) for t in temperatures)
    except ValueError as unknown:
        raise RecipeError(
            str(unknown), expected="a temperature that the store knows", do="give another --temperature"
        ) from None
    label, picture = _look_up(run, keys[number])
    return Peek(number, bytes(keys[number].tolist()).hex()[:12], label, classes, answers, picture)


def loudest_whisper(logits_NC: Tensor) -> int:
    """The example whose answer is confident (p >= 0.99 at temperature 1) and whose second thought is loudest at 4."""
    confident_N = logits_NC.softmax(dim=1).amax(dim=1) >= 0.99
    second_N = (logits_NC / 4).softmax(dim=1).topk(2, dim=1).values[:, 1]
    return int(torch.where(confident_N, second_N + 1, second_N).argmax())


def _answer(logits_C: Tensor, temperature: float) -> Answer:
    # The largest becomes 0 first: else a low temperature makes infinities of all of them.
    log_p_C = ((logits_C.double() - logits_C.amax()) / temperature).log_softmax(dim=0)
    entropy = float(-(log_p_C.exp() * log_p_C).nan_to_num().sum()) / math.log(2)
    return Answer(temperature, tuple(log_p_C.exp().tolist()), entropy)


def _store(run: Path) -> Path:
    """The store of the teacher's answers; those of assistants lie beside it."""
    stores = sorted((run / "labels").glob("*/manifest.json"))
    origin = run / ORIGIN
    teachers = read_json(origin).get("teacher") if origin.exists() else None
    stores = [store for store in stores if teachers in (None, store.parent.name)]
    if not stores:
        raise DataError(
            f"{run} has no label store",
            expected="a run whose teacher has been asked (RUN/labels/*/manifest.json), or a part of its search",
            do="run limbeck distill first, or name another run",
        )
    return stores[-1].parent


def _look_up(run: Path, key: Tensor) -> tuple[str | None, tuple[str, ...]]:
    """Label and picture of an example, from the data if they are still where the recipe says."""
    try:
        source = read_recipe(run / RESOLVED).data.source
        if isinstance(source, GivenData):
            return None, ()
        examples = source.load().train
    except (RecipeError, DataError):
        return None, ()
    rows = (examples.keys == key).all(dim=1).nonzero()[:, 0].tolist()
    if not rows:  # the data have changed since
        return None, ()
    row, label = rows[0], int(examples.labels[rows[0]])
    return None if label == UNLABELLED else examples.classes[label], _picture(examples, row)


def _picture(examples: Examples, row: int) -> tuple[str, ...]:
    """A small grey image as characters, two columns a pixel."""
    image = examples.inputs[row].float()
    if image.ndim != 3 or max(image.shape[1:]) > 32:
        return ()
    grey_HW = image.mean(dim=0)
    levels_HW = (grey_HW / grey_HW.max().clamp_min(1e-9) * (len(_SHADES) - 1)).round().long()
    return tuple("".join(_SHADES[level] * 2 for level in line) for line in levels_HW.tolist())


def peek_text(look: Peek, most: int = 10) -> str:
    """A peek as lines for a terminal: the picture, then bars for each temperature."""
    known = f", truly {look.label}" if look.label is not None else ""
    lines = [f"example {look.example} (key {look.key}{known})", *("  " + line for line in look.picture)]
    for answer in look.answers:
        lines.append(f"\ntemperature {answer.temperature:g}   (entropy {answer.entropy_bits:.2f} bits)")
        ranked = sorted(range(len(look.classes)), key=lambda c: -answer.probabilities[c])[:most]
        width = max(len(look.classes[c]) for c in ranked)
        for c in sorted(ranked):
            p = answer.probabilities[c]
            lines.append(f"  {look.classes[c]:>{width}} {_bar(p):<{_BAR}} {100 * p:6.2f} %")
    return "\n".join(lines)


def peek_json(look: Peek) -> dict[str, Any]:
    """A peek as plain values."""
    return {
        "example": look.example,
        "key": look.key,
        "label": look.label,
        "answers": [
            {
                "temperature": answer.temperature,
                "entropy_bits": answer.entropy_bits,
                "probabilities": dict(zip(look.classes, answer.probabilities, strict=True)),
            }
            for answer in look.answers
        ],
    }


def _bar(share: float) -> str:
    """A bar of eighths of a block."""
    eighths = round(share * _BAR * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
