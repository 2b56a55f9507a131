"""In which precision a teacher's networks are asked: bf16 where it names the same classes, and is faster.

Dimension key: N examples, C classes.
"""

import logging
import time
from typing import Any, Literal

import torch

from limbeck.data import Examples
from limbeck.errors import DataError, LimbeckError
from limbeck.teachers.module import ModuleTeacher, Precision
from limbeck.teachers.preflight import ASKED
from limbeck.teachers.teacher import BATCH_SIZE, Teacher, ask, ask_all, evenly

Wanted = Literal["fp32", "bf16", "auto"]

AGREEMENT = 0.999
"""Share of the examples asked whose first choice must be the same in bf16."""

_log = logging.getLogger(__name__)


def networks_of(teacher: Teacher) -> list[ModuleTeacher]:
    """The networks that answer, itself or those it asks in its turn."""
    own = [teacher] if isinstance(teacher, ModuleTeacher) else []
    return [*own, *(network for inner in teacher.within for network in networks_of(inner))]


def set_precision(teacher: Teacher, precision: Precision) -> None:
    """Let all networks of a teacher answer in a precision."""
    for network in networks_of(teacher):
        network.precision = precision


def agreement(teacher: Teacher, examples: Examples) -> float:
    """The share of up to 1,000 examples to which a teacher gives the same first choice in bf16 as in fp32."""
    some = examples.select(evenly(len(examples), ASKED))
    choices_N = []
    for precision in ("fp32", "bf16"):
        set_precision(teacher, precision)
        choices_N.append(ask_all(teacher, some).argmax(dim=1))
    return float((choices_N[0] == choices_N[1]).double().mean())


def settle_precision(teacher: Teacher, examples: Examples, wanted: Wanted) -> dict[str, Any]:
    """Find the precision in which a teacher is asked, and let it be asked so.

    `auto` depends on how fast this machine is just now: a run keeps what was found, and wants that when it is resumed.

    Returns:
        For the record: `precision`, and `bf16_agreement` where it was looked at.

    Raises:
        DataError: bf16 is wanted, and the teacher has no network, fails in it, or names other classes.
    """
    networks = networks_of(teacher)
    if wanted == "bf16" and not networks:
        raise DataError(
            "labels.precision is bf16, and the teacher has no network whose precision could be set",
            expected="a network of torch",
            do="set labels.precision: fp32",
        )
    if wanted == "fp32" or (wanted == "auto" and not (networks and _faster(teacher, examples))):
        set_precision(teacher, "fp32")
        return {"precision": "fp32"}
    try:
        share = agreement(teacher, examples)
    except LimbeckError:
        raise
    except Exception as error:  # whatever a forward may say about a type it does not know
        raise DataError(
            f"in bf16 the teacher failed: {error}",
            expected="a network whose every part takes bfloat16",
            do="set labels.precision: fp32",
        ) from error
    found: Precision = "bf16" if share >= AGREEMENT else "fp32"
    if wanted == "bf16" and found == "fp32":
        raise DataError(
            f"in bf16 the teacher names the same class as in fp32 on {share:.2%} of the examples asked",
            expected=f"at least {AGREEMENT:.1%}",
            do="set labels.precision: fp32",
        )
    set_precision(teacher, found)
    _log.info("the teacher is asked in %s: bf16 names the same class on %.2f %% of the examples", found, 100 * share)
    return {"precision": found, "bf16_agreement": share}


def _faster(teacher: Teacher, examples: Examples) -> bool:
    """Whether bf16 can be had, and answers one batch sooner; the first answers, which make copies, do not count."""
    some = examples.select(torch.arange(min(BATCH_SIZE, len(examples))))
    seconds: dict[Precision, float] = {}
    for precision in ("fp32", "bf16"):
        set_precision(teacher, precision)
        try:
            ask(teacher, some.inputs, some.keys)
        except Exception:  # whatever a forward may say about a type it does not know
            if precision == "fp32":
                raise
            return False
        seconds[precision] = min(_seconds(teacher, some) for _ in range(3))
    return seconds["bf16"] < seconds["fp32"]


def _seconds(teacher: Teacher, examples: Examples) -> float:
    began = time.perf_counter()
    ask(teacher, examples.inputs, examples.keys)
    return time.perf_counter() - began
