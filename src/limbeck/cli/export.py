"""`limbeck export RUN`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.output import print_json
from limbeck.cli.progress import progress_on_stderr
from limbeck.cli.settings import Arm, Seed

if TYPE_CHECKING:
    from limbeck.export import Delivered


def export(
    run: Annotated[Path, typer.Argument(help="The directory of a run that has ended.")],
    to: Annotated[
        str, typer.Option("--to", help="Formats, with commas between: limbeck list formats has them.")
    ] = "onnx",
    arm: Arm = None,
    seed: Seed = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Of the student, for its file and card: MIT, say.")
    ] = None,
    least_agreement: Annotated[
        float | None, typer.Option(help="The share of first choices that int8 must keep; 0.99 unless given.")
    ] = None,
    most_drop: Annotated[
        float | None, typer.Option(help="The points of accuracy that int8 may lose; 0.5 unless given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was measured as JSON.")] = False,
) -> None:
    """Deliver a student: convert it, hold the file to the student on held-out data, write a bundle.

    A file that does not answer as its student does is not delivered: exit status 5.

    Examples:
        limbeck export runs/first

        limbeck export runs/first --to onnx,onnx-int8 --licence MIT

        limbeck export runs/first --to executorch,executorch-int8
    """
    from limbeck.export import export as deliver
    from limbeck.export import formats_of, tolerance
    from limbeck.finished import Chosen, finished
    from limbeck.preparation import Materials
    from limbeck.report import write_report

    kinds, gate = formats_of(to), tolerance(least_agreement, most_drop)
    over = finished(run, Materials())
    with progress_on_stderr() as watch:
        outcome = deliver(
            over,
            kinds,
            chosen=Chosen(arm=arm, seed=seed),
            licence=licence,
            tolerance=gate,
            watch=watch,
        )
    write_report(run, over.record)
    if as_json:
        found = [{"format": one.kind, "directory": str(one.directory), **one.parity} for one in outcome.delivered]
        print_json(found)
    else:
        for one in outcome.delivered:
            print(_sentence(one))
    outcome.raise_refused()


def _sentence(one: "Delivered") -> str:
    found = one.parity
    accuracy = ""
    if found["accuracy"] is not None:
        accuracy = f"; accuracy {100 * found['accuracy']:.2f} %, the student {100 * found['original_accuracy']:.2f} %"
    kept = (
        f"{one.directory}: {found['bytes']:,} bytes; agrees with the student on {100 * found['agreement']:.2f} % of "
        f"{found['examples']:,} {found['on']} examples, KL {found['divergence']:.2g} nats{accuracy}"
    )
    return "\n  ".join((kept, *found["notes"]))
