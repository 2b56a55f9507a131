"""What teacher, student and exports of a run cost on this machine, measured side by side into bench.json."""

import io
import math
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.benchmark.capacity import capacity
from limbeck.benchmark.contenders import STUDENT, TEACHER, Contender, Field, field_of
from limbeck.benchmark.fresh import cold
from limbeck.benchmark.machine import device, versions
from limbeck.benchmark.ratios import Timed, cost, int8_gains, ratios
from limbeck.benchmark.turns import ENOUGH, TURNS, WARM, Task, by_batch, in_turns
from limbeck.benchmark.worker import Run
from limbeck.errors import RecipeError
from limbeck.files import write_bytes
from limbeck.finished import Chosen, Finished
from limbeck.measurement import Times, torch_threads
from limbeck.progress import Progress, Stop, Watch, stoppable
from limbeck.record import cores, write_bench

SECONDS = 20.0
"""That the times of one contender take at most; small networks need a tenth of it."""
ASKED = 64
"""Examples that are asked about one by one, over and over."""
KEPT = ENOUGH // TURNS
"""Times of a turn that are kept one by one."""
COLD, COLD_SECONDS = 3, 3.0
"""Fresh processes that open a file, unless the first took longer than so many seconds."""


def bench(
    run: Finished, *, chosen: Chosen, price: float | None = None, seconds: float = SECONDS, watch: Watch
) -> dict[str, Any]:
    """Measure what answers cost here; returns what bench.json in the run's directory says from now on.

    Args:
        run: which has ended.
        chosen: its student.
        price: of an hour of this machine, in whatever currency.
        seconds: for the times of each contender at most.
        watch: told of progress.

    Raises:
        RecipeError: no such student, or data or a teacher that can only be handed over in Python; a price or seconds
            that are no positive number.
        DataError: a damaged student, or data that have changed.
        Interrupted: a stop was asked for.
    """
    for name, value in (("price", price), ("seconds", seconds)):
        if value is not None and not 0 < value < math.inf:
            raise RecipeError(f"--{name} {value:g}", expected="a number above 0", do=f"set another {name}")
    arm, seed = run.settled(chosen)
    before = device()  # its load is that of others
    with tempfile.TemporaryDirectory(prefix="limbeck-") as place, stoppable() as stop, torch_threads(cores()):
        scratch = Path(place)
        field = field_of(run, chosen, scratch)
        timed = _timed(field, seconds, watch, stop)
        inputs = {id(each): _inputs(each, number, field, scratch) for number, each in enumerate(field.contenders)}
        starts = [_cold(each, inputs[id(each)], watch, stop) for each in field.contenders]
        fits = _fits(timed, field, inputs, watch, stop)
        contenders = [_facts(each, start, price) for each, start in zip(timed, starts, strict=True)]
    record = {
        "student": {"arm": arm, "seed": seed, "files": _weights(run, arm, seed)},
        "device": before,
        "versions": versions(),
        "method": {
            "turns": TURNS,
            "warm": WARM,
            "enough": ENOUGH,
            "seconds": seconds,
            "examples": min(ASKED, len(field.stored)),
            "input_shape": list(field.stored.shape[1:]),
            "input_dtype": str(field.stored.dtype).removeprefix("torch."),
        },
        "price": price,
        "contenders": contenders,
        "left_out": list(field.left_out),
        "ratios": ratios(timed),
        "int8": int8_gains(timed),
        "capacity": fits,
    }
    return write_bench(run.directory, record)


def _weights(run: Finished, arm: str, seed: int) -> dict[str, Any]:
    """The files of the student as the record of the run has them, by which a reader knows whether it is the same."""
    of_student = f"arms/{arm}/seed-{seed}/student/"
    return {name: facts["sha256"] for name, facts in run.record["files"].items() if name.startswith(of_student)}


# --- times -----------------------------------------------------------------------------------------------------------


def _timed(field: Field, seconds: float, watch: Watch, stop: Stop) -> list[Timed]:
    """Every contender with its times."""
    counts = sorted({1, cores()})
    share = seconds / (2 + 2 * len(counts))
    swept: list[dict[tuple[int, int], float]] = []
    for done, who in enumerate(field.contenders):
        stop.raise_if_asked("run the same command again")
        watch(Progress("batches", done, len(field.contenders)))
        found = {n: by_batch(who.open(n), partial(_batch, who, field.stored), seconds=share) for n in counts}
        swept.append({(batch, n): rate for n, rates in found.items() for batch, rate in rates.items()})
    best = [max(each, key=each.__getitem__) for each in swept]
    tasks: dict[Any, Task] = {}
    for number, who in enumerate(field.contenders):
        one_by_one = [field.stored[row : row + 1] for row in range(min(ASKED, len(field.stored)))]
        seen = [who.see(one) for one in one_by_one]
        tasks |= {(number, threads): Task(partial(who.open, threads), seen) for threads in counts}
        tasks[number, "with_preprocessing"] = Task(partial(_with_preprocessing, who), one_by_one)
        batch, threads = best[number]
        tasks[number, "batched"] = Task(partial(who.open, threads), [_batch(who, field.stored, batch)])
    times = in_turns(tasks, seconds=share, watch=watch, stop=stop)
    return [
        Timed(
            who=who,
            latency={threads: times[number, threads] for threads in counts},
            with_preprocessing=times[number, "with_preprocessing"],
            best=best[number],
            batched=times[number, "batched"],
            tried=swept[number],
        )
        for number, who in enumerate(field.contenders)
    ]


def _batch(who: Contender, stored: Tensor, count: int) -> Any:
    """So many real examples as a contender takes them, some twice if there are no more."""
    return who.see(stored.repeat(-(-count // len(stored)), *[1] * (stored.ndim - 1))[:count])


def _with_preprocessing(who: Contender) -> Run:
    run = who.open(1)
    torch.set_num_threads(1)  # preprocessing is torch's where the runtime is another
    return lambda stored: run(who.see(stored))


# --- fresh processes -------------------------------------------------------------------------------------------------


def _inputs(who: Contender, number: int, field: Field, scratch: Path) -> Path:
    """What a fresh process asks a contender about, in a file."""
    buffer, path = io.BytesIO(), scratch / f"inputs-{number}.npy"
    np.save(buffer, who.see(field.stored[:ASKED]))
    write_bytes(path, buffer.getvalue())
    return path


def _cold(who: Contender, inputs: Path, watch: Watch, stop: Stop) -> dict[str, Any] | None:
    """What a start costs: the middle one of some; None where a fresh process cannot open it."""
    if who.kind is None or who.file is None:
        return None
    began = time.monotonic()
    starts: list[dict[str, Any]] = []
    while len(starts) < COLD and (not starts or time.monotonic() - began < COLD_SECONDS):
        stop.raise_if_asked("run the same command again")
        watch(Progress(f"cold starts: {who}", len(starts), COLD))
        starts.append(cold(who.kind, who.file, inputs))
    middle = sorted(starts, key=lambda start: start["seconds"])[len(starts) // 2]
    return {**middle, "all_seconds": [start["seconds"] for start in starts]}


def _fits(
    timed: Sequence[Timed], field: Field, inputs: dict[int, Path], watch: Watch, stop: Stop
) -> dict[str, Any] | None:
    """How many students fit where the teacher stood; None where either is not there to be tried."""
    teachers = [each.who for each in timed if each.who.name == TEACHER]
    students = [each for each in timed if each.who.name == STUDENT and each.who.kind is not None]
    if not teachers or not students:
        return None
    student = min(students, key=lambda each: each.latency[1].mean)
    return capacity(
        teachers,
        student.who,
        quickness=student.latency[1].mean,
        stored=field.stored[:ASKED],
        inputs=inputs[id(student.who)],
        watch=watch,
        stop=stop,
    )


def _one_by_one(times: Times) -> list[list[float]]:
    """The first of each turn, in microseconds: percentiles do not tell how they lay in time."""
    return [[round(1e6 * seconds, 1) for seconds in turn[:KEPT]] for turn in times.turns]


def _facts(each: Timed, start: dict[str, Any] | None, price: float | None) -> dict[str, Any]:
    return {
        "name": each.who.name,
        "runtime": each.who.runtime,
        "parameters": each.who.parameters,
        "macs": each.who.macs,
        "file_bytes": each.who.file_bytes,
        "latency": {str(threads): times.summary() for threads, times in each.latency.items()},
        "microseconds": {str(threads): _one_by_one(times) for threads, times in each.latency.items()},
        "with_preprocessing": each.with_preprocessing.summary(),
        "throughput": {
            "batch": each.best[0],
            "threads": each.best[1],
            "per_second": each.in_batches,
            "tried": [{"batch": batch, "threads": n, "per_second": rate} for (batch, n), rate in each.tried.items()],
            **each.batched.summary(),
        },
        "cold": start,
        "cost": {"one_by_one": cost(each.one_by_one, price), "in_batches": cost(each.in_batches, price)},
    }
