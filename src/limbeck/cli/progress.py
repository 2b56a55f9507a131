"""Progress on stderr: one bar on a terminal, a line now and then otherwise."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limbeck.progress import Progress

PAUSE = 5.0
"""Seconds between two lines where stderr is no terminal."""

LEFT = "left_seconds"
"""The fact how long a stage will still take."""
PEAK_SHARE = "_peak_share"
"""After the name of a precision, in a fact about how fast a teacher is asked."""


@contextmanager
def progress_on_stderr() -> Iterator[Callable[["Progress"], None]]:
    """A watcher for as long as the block runs."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}"),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, int] = {}

        def watch(progress: "Progress") -> None:
            if progress.stage not in tasks:
                for old in tasks.values():
                    bars.update(old, visible=False)  # type: ignore[arg-type]
                tasks[progress.stage] = bars.add_task(progress.stage, total=progress.total, facts="")
            bars.update(tasks[progress.stage], completed=progress.done, facts=facts_text(progress))  # type: ignore[arg-type]

        yield watch


class _Lines:
    """A line when a stage begins to show, when it ends, and every few seconds between."""

    def __init__(self) -> None:
        self.last = 0.0

    def __call__(self, progress: "Progress") -> None:
        now = time.monotonic()
        if now - self.last < PAUSE and progress.done < progress.total:
            return
        self.last = now
        line = f"{progress.stage}: {progress.done:,} of {progress.total:,}  {facts_text(progress)}"
        print(line.rstrip(), file=sys.stderr, flush=True)


def facts_text(progress: "Progress") -> str:
    """Losses as they are, seconds as shares of teacher, student and data, a pace beside what the machine can do."""
    facts = dict(progress.facts)
    pace = [f"{facts.pop('examples_per_second'):,.0f} examples/s"] if "examples_per_second" in facts else []
    for key in [key for key in facts if key.endswith(PEAK_SHARE)]:
        precision = key.removesuffix(PEAK_SHARE)
        pace.append(f"{100 * facts.pop(key):.0f} % of this machine's {precision} matmul peak")
    left = [f"about {_in_words(facts.pop(LEFT))} left"] if LEFT in facts else []
    seconds = {key.removesuffix("_seconds"): facts.pop(key) for key in list(facts) if key.endswith("_seconds")}
    total = sum(seconds.values())
    shares = [f"{name} {100 * value / total:.0f} %" for name, value in seconds.items()] if total else []
    losses = [f"{name} {value:.4g}" for name, value in facts.items()]
    return "  ".join(
        [*([", ".join(pace)] if pace else []), *losses, *(["time: " + ", ".join(shares)] if shares else []), *left]
    )


def _in_words(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes > 1 else f"{seconds:.0f} s"
