"""Time and peak memory of each objective beside torchdistill's loss class and the published code.

    python bench/objectives/speed.py [--published FOLDER] [--turns 41] [--only dkd] [--json FILE]
    python bench/objectives/speed.py --list

A call is forward, mean over the batch, backward to the student's tensor and to what is learnt, on the same float32
tensors. All that have an objective are timed in turns within one process, after warm calls; a ratio is limbeck's median
over theirs, so below 1 limbeck is faster. Memory is the most that torch's allocator held at once during a call beyond
what was there before it. `bench/objectives/run.sh` gets torchdistill and sets the threads.

`*` marks a ratio to a function that is not the same: value or gradient differ by more than a thousandth.
"""

import argparse
import gc
import importlib.util
import itertools
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cases import CASES, Case, Shapes
from peers import Loss, from_published, from_torchdistill
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from limbeck.objectives import CATALOGUE, TapObjective
from limbeck.signal import Signal

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CHUNK = 0.001
"""Seconds of a turn of one contender, or one call: short, so that what disturbs one disturbs all alike."""
WARM = 0.05
"""Seconds of calls before the first that counts."""
LONG, FEW = 1.0, 3
"""Seconds above which a call is timed in a few turns only, and how many these are."""
LIMIT = 1.1
"""Rows with a larger ratio of times are listed again at the end."""


@dataclass(frozen=True)
class Contender:
    """A loss and all that its backward fills."""

    loss: Loss
    student: Tensor
    teacher: Tensor
    labels: Tensor
    learnt: nn.Module | None

    def clear(self) -> None:
        self.student.grad = None
        if self.learnt is not None:
            self.learnt.zero_grad(set_to_none=True)

    def call(self) -> Tensor:
        self.clear()
        value = self.loss(self.student, self.teacher, self.labels)
        value.backward()
        return value.detach()


def contenders(case: Case, shapes: Shapes, published: Path | None) -> dict[str, Contender]:
    """limbeck first, then who else has it and is there, on the same tensors."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (2 * torch.randn(shape, generator=generator) for shape in shapes)
    labels = torch.randint(0, shapes[0][1], (len(student),), generator=generator)
    student.requires_grad_()
    torch.manual_seed(0)
    own, learnt = _limbeck(case, shapes)
    losses: dict[str, Loss | None] = {"limbeck": own}
    if len(student) <= case.most:
        losses["torchdistill"] = from_torchdistill(case.torchdistill, learnt) if case.torchdistill else None
        losses["published"] = from_published(case.published, published, learnt) if case.published else None
        losses["torch"] = case.plain(None, learnt) if case.plain else None
    return {
        name: Contender(loss, student, teacher, labels, learnt) for name, loss in losses.items() if loss is not None
    }


def _limbeck(case: Case, shapes: Shapes) -> tuple[Loss, nn.Module | None]:
    cls = CATALOGUE[case.objective]
    if not issubclass(cls, TapObjective):
        objective = cls(**case.settings)
        return lambda s, t, y: objective(Signal(logits=s), Signal(logits=t), y).mean(), None
    tapped = cls(**case.settings, student="tap", teacher="tap")
    learnt = tapped.build(*(shape[1:] for shape in shapes))
    none = torch.empty(0)

    def loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        output, signal = (Signal(logits=none, features={"tap": values}) for values in (student, teacher))
        return tapped(output, signal, labels, learnt).mean()

    return loss, learnt


def seconds(members: dict[str, Contender], turns: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of a call of each, turn by turn; short calls are taken many at a time."""
    counts = {name: _warm(member, clock) for name, member in members.items()}
    times: dict[str, list[float]] = {name: [] for name in members}
    orders = itertools.cycle((list(members), list(members)[::-1]))
    gc.collect()
    gc.disable()
    for order in itertools.islice(orders, turns if all(counts.values()) else FEW):
        for name in order:
            call, count = members[name].call, max(1, counts[name])
            began = clock()
            for _ in range(count):
                call()
            times[name].append((clock() - began) / count)
    gc.enable()
    return times


def _warm(member: Contender, clock: Callable[[], float]) -> int:
    """Calls in one turn, after some that do not count; 0 where a call is so long that few turns must do."""
    took, spent = 0.0, 0.0
    while spent < WARM:
        began = clock()
        member.call()
        took = clock() - began
        spent += max(took, 1e-6)
        if took > LONG:
            return 0
    return max(1, round(CHUNK / max(took, 1e-6)))


def peak(member: Contender) -> int:
    """Bytes that a call holds at most beyond what was there before it."""
    member.clear()
    with _quiet(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        member.call()
    sizes = (event.nbytes() for event in record.profiler.kineto_results.events() if event.name() == "[memory]")
    return max(itertools.accumulate(sizes), default=0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines that the profiler writes past Python's stderr when it starts and stops."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def same(member: Contender, other: Contender) -> bool:
    """Whether value and gradient agree to a thousandth."""
    results = []
    for one in (member, other):
        value = one.call()
        results.append((value.reshape(()), one.student.grad))
    pairs = zip(*results, strict=True)
    return all(bool((a - b).abs().max() <= 1e-3 * b.abs().max() + 1e-9) for a, b in pairs)


def row(case: Case, shapes: Shapes, options: argparse.Namespace) -> dict[str, Any]:
    """All about one objective on one shape."""
    members = contenders(case, shapes, options.published)
    times = seconds(members, options.turns, CLOCKS[options.clock])
    own = members["limbeck"]
    result: dict[str, Any] = {"objective": case.label, "settings": case.settings, "shapes": shapes, "who": {}}
    medians = {name: statistics.median(values) for name, values in times.items()}
    least = {name: min(values) for name, values in times.items()}
    bytes_ = {name: peak(member) for name, member in members.items()}
    for name, member in members.items():
        result["who"][name] = {
            "microseconds": medians[name] * 1e6,
            "turns": len(times[name]),
            "bytes": bytes_[name],
            "time_ratio": medians["limbeck"] / medians[name],
            "least_time_ratio": least["limbeck"] / least[name],
            "memory_ratio": bytes_["limbeck"] / bytes_[name] if bytes_[name] else None,
            "same": name == "limbeck" or same(own, member),
        }
    return result


def line(result: dict[str, Any]) -> str:
    """The row as text."""
    who = result["who"]
    shapes = " ".join("x".join(map(str, shape)) for shape in dict.fromkeys(map(tuple, result["shapes"])))
    own = who["limbeck"]
    text = f"{result['objective']:30} {shapes:25} {own['microseconds']:10.0f} {own['bytes'] / 2**20:9.2f}"
    for names in (("torchdistill",), ("published", "torch")):
        found = next((who[name] for name in names if name in who), None)
        if found is None:
            text += f"  {'-':>7} {'-':>7}"
            continue
        mark = " " if found["same"] else "*"
        text += f"  {found['time_ratio']:6.2f}{mark} {found['memory_ratio'] or 0:6.2f}{mark}"
    return text + ("  (torch's own)" if "torch" in who else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", type=Path, help="a folder of checkouts, FOLDER/owner/name")
    parser.add_argument("--turns", type=int, default=41)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: for one thread on a busy machine")
    parser.add_argument("--only", help="labels that contain this")
    parser.add_argument("--most", type=int, default=1_000_000, help="examples of the largest batch")
    parser.add_argument("--json", type=Path, help="a file for the results")
    parser.add_argument("--list", action="store_true", help="the published files that are looked for, and stop")
    options = parser.parse_args()
    cases = [case for case in CASES if not options.only or options.only in case.label]
    if options.list:
        for peer in sorted({(p.repo, p.path, p.symbol) for case in cases if (p := case.published)}):
            print(*peer)
        return
    # Some of the published code speaks of arguments that torch has renamed since.
    warnings.filterwarnings("ignore")
    if importlib.util.find_spec("torchdistill") is None:
        print("torchdistill is not installed: its columns stay empty")
    print(f"torch {torch.__version__}, threads {torch.get_num_threads()}, clock {options.clock}, turns {options.turns}")
    print(f"{'':30} {'':25} {'limbeck':>10} {'limbeck':>9}  {'limbeck/torchdistill':>15} {'limbeck/published':>15}")
    print(f"{'objective':30} {'shape':25} {'us':>10} {'MiB':>9}  {'time':>7} {'memory':>7}  {'time':>7} {'memory':>7}")
    results = []
    for case in cases:
        if case.objective not in CATALOGUE:
            print(f"{case.label:30} not in the catalogue")
            continue
        for shapes in case.shapes:
            if shapes[0][0] <= options.most:
                results.append(row(case, shapes, options))
                print(line(results[-1]), flush=True)
    _close(results)
    if not options.only:
        print(f"not measured: {', '.join(sorted(set(CATALOGUE) - {case.objective for case in CASES})) or 'none'}")
    if options.json:
        threads = torch.get_num_threads()
        head = {"torch": torch.__version__, "threads": threads, "clock": options.clock, "turns": options.turns}
        options.json.write_text(json.dumps({**head, "rows": results}, indent=1) + "\n")


def _close(results: list[dict[str, Any]]) -> None:
    """The slow rows once more."""
    slow = [
        result
        for result in results
        if any(who["same"] and who["time_ratio"] > LIMIT for name, who in result["who"].items() if name != "torch")
    ]
    print(f"\nslower than {LIMIT} x torchdistill's or the published: {len(slow)} of {len(results)} rows")
    for result in slow:
        print(line(result))


if __name__ == "__main__":
    main()
