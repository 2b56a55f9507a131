"""The command line: one verb per file. Results go to stdout, progress and errors to stderr; only this room prints.

Verbs import what they need when they are called: `limbeck --help` must not wait for torch.
"""

import logging
import os
import sys
import traceback
from typing import Annotated

import typer

import limbeck
from limbeck.cli import bench, demo, distill, doctor, export, label, listing, peek, predict, report, tune
from limbeck.errors import LimbeckError

app = typer.Typer(
    name="limbeck",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"limbeck {limbeck.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Distil a big teacher into a small student, and prove the gain."""


app.command("demo")(demo.demo)
app.command("distill")(distill.distill)
app.command("label")(label.label)
app.command("tune")(tune.tune)
app.command("peek")(peek.peek)
app.command("report")(report.report)
app.command("export")(export.export)
app.command("predict")(predict.predict)
app.command("bench")(bench.bench)
app.command("list")(listing.listing)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run a verb; an error of the user's world becomes words and an exit status."""
    warnings = logging.StreamHandler()
    warnings.setLevel(logging.WARNING)
    logging.basicConfig(handlers=[warnings], format="limbeck: %(message)s")
    try:
        app()
    except LimbeckError as error:
        print(f"limbeck: {error}", file=sys.stderr)
        if os.environ.get("LIMBECK_DEBUG"):
            traceback.print_exc()
        sys.exit(error.exit_status)
    except Exception as error:
        rank = int(os.environ.get("RANK", "0"))
        if rank == 0:
            raise
        # Rank 0 says what is wrong; when it ends, the others lose their connection.
        print(f"limbeck: rank {rank} ended too ({type(error).__name__})", file=sys.stderr)
        sys.exit(1)
