"""`limbeck bench RUN`."""

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.output import print_json
from limbeck.cli.progress import progress_on_stderr
from limbeck.cli.settings import Arm, Seed
from limbeck.errors import Interrupted


def bench(
    run: Annotated[Path, typer.Argument(help="The directory of a run that has ended.")],
    price: Annotated[
        float | None, typer.Option(help="Of an hour of this machine, in your currency: what a million answers cost.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="For the times of teacher, student or export, each, at most; 20 unless given.")
    ] = None,
    arm: Arm = None,
    seed: Seed = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print bench.json.")] = False,
) -> None:
    """Measure what answers cost on this machine: the teacher beside the student beside its exports.

    Latency, throughput, cold start, memory, sizes, and how many students fit where one teacher stood, into bench.json
    and the report. Other work on the machine spoils it.

    Examples:
        limbeck bench runs/first

        limbeck bench runs/first --price 0.40
    """
    from limbeck.benchmark.bench import SECONDS, bench
    from limbeck.finished import Chosen, finished
    from limbeck.preparation import Materials
    from limbeck.report import bench_markdown, write_report

    over = finished(run, Materials())
    try:
        with progress_on_stderr() as watch:
            found = bench(
                over,
                chosen=Chosen(arm=arm, seed=seed),
                price=price,
                seconds=SECONDS if seconds is None else seconds,
                watch=watch,
            )
    except Interrupted as stopped:
        raise stopped.advising(f"limbeck bench {run} measures anew") from None
    write_report(run, over.record)
    if as_json:
        print_json(found)
    else:
        print(bench_markdown(found))
