"""The command line: one verb per file. Results go to stdout, progress and errors to stderr; only this room prints.

Verbs import what they need when they are called: `limbeck --help` must not wait for torch.
"""

import logging
import os
import sys
import traceback

import typer

from limbeck.cli import demo, distill, doctor, listing, peek, report
from limbeck.errors import LimbeckError

app = typer.Typer(
    name="limbeck",
    help="Distil a big teacher into a small student, and prove the gain.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("distill")(distill.distill)
app.command("peek")(peek.peek)
app.command("report")(report.report)
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
    except KeyboardInterrupt:
        print("limbeck: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone; without this the interpreter complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
