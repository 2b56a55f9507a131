"""`limbeck report RUN`."""

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.output import print_json


def report(
    run: Annotated[Path, typer.Argument(help="The directory of a run, of a search or of a proof.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Write report.md and report.html of a run or a search anew from its record, and print the Markdown.

    Examples:
        limbeck report runs/first

        limbeck report runs/first --json
    """
    from limbeck.report import markdown_of, record_of, write_report

    record = record_of(run)
    write_report(run, record)
    if as_json:
        print_json(record)
    else:
        print(markdown_of(run, record), end="")
