"""`limbeck peek RUN`."""

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.output import print_json


def peek(
    run: Annotated[Path, typer.Argument(help="The directory of a run, or of a search, a trial or a proof in it.")],
    example: Annotated[
        int | None, typer.Option(help="Its number in the label store; by default one with a loud whisper.")
    ] = None,
    temperature: Annotated[
        list[float] | None, typer.Option("--temperature", "-T", help="May be repeated; 1, 4 and 10 by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the teacher says about an example at several temperatures, as bars.

    Examples:
        limbeck peek runs/demo/whisper

        limbeck peek runs/first --example 7 -T 1 -T 2 -T 20
    """
    from limbeck.report import peek as look_at
    from limbeck.report import peek_json, peek_text

    look = look_at(run, example, tuple(temperature)) if temperature else look_at(run, example)
    if as_json:
        print_json(peek_json(look))
    else:
        print(peek_text(look))
