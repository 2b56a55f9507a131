"""`limbeck distill RECIPE.yaml`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.output import print_json
from limbeck.cli.progress import progress_on_stderr
from limbeck.cli.settings import AllowWeak, Settings, changes_of, command
from limbeck.errors import GateError, Interrupted, RecipeError

if TYPE_CHECKING:
    from limbeck.measurement import Verdict

_GATE = re.compile(r"\s*gain\s*(>=|>)\s*([-+]?\d+(?:\.\d+)?)\s*")


def distill(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file; examples/ has some.")],
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in `out`.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the run in `out` first.")] = False,
    allow_weak: AllowWeak = False,
    require: Annotated[
        str | None,
        typer.Option(help='A gate on the interval\'s lower end, in points: "gain > 0". Not met: exit status 5.'),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Label, fit every arm and seed, measure, report.

    Examples:
        limbeck distill examples/digits.yaml

        limbeck distill examples/hinton.yaml --set data.path=DIR --set out=runs/hinton

        limbeck distill examples/digits.yaml --set distill.temperature=8 --require "gain > 0"
    """
    gate = _gate(require)
    changes = changes_of(settings)

    from limbeck.data import columns_line
    from limbeck.files import path_of
    from limbeck.measurement import Verdict
    from limbeck.pipeline import Options, run
    from limbeck.preparation import Materials
    from limbeck.recipe import read_recipe
    from limbeck.report import closing_sentence, write_report
    from limbeck.training import join_world

    plan = read_recipe(recipe, changes)
    if gate is not None and (len(plan.proof.seeds) < 2 or len(plan.proof.arms) < 2):
        raise RecipeError(
            f"--require {require!r} came with {len(plan.proof.seeds)} seeds and {len(plan.proof.arms)} arms",
            expected="at least 2 of each, or nothing can be compared and the gate never be met",
            do="set proof.seeds and proof.arms, or leave --require out",
        )
    try:
        with progress_on_stderr() as watch:
            record = run(plan, Materials(), Options(resume, overwrite, allow_weak, watch))
    except Interrupted as stopped:
        gated = () if require is None else ("--require", require)
        flags = (allow_weak and "--allow-weak-teacher", *gated, as_json and "--json", "--resume")
        raise stopped.advising(command("distill", recipe, settings, *flags)) from None
    if not join_world().leads:
        return
    path = write_report(path_of(plan.out, "out"), record)
    if as_json:
        print_json(record)
    else:
        if about_columns := columns_line(record["data"]):
            print(f"columns: {about_columns}")
        for verdict in record["verdicts"][1:]:
            print(f"{verdict['arm']} {verdict['sentence']}")
        print(f"{closing_sentence(record)}\nreport: {path}")
    if gate is not None:
        _check_gate(*gate, Verdict.from_dict(record["verdict"]))


def _gate(text: str | None) -> tuple[str, float] | None:
    if text is None:
        return None
    match = _GATE.fullmatch(text)
    if not match:
        raise RecipeError(
            f"--require {text!r}", expected="gain > POINTS or gain >= POINTS", do='write --require "gain > 0"'
        )
    return match[1], float(match[2])


def _check_gate(sign: str, points: float, verdict: "Verdict") -> None:
    low = None if verdict.interval is None else 100 * verdict.interval[0]
    if low is not None and (low > points or (sign == ">=" and low == points)):
        return
    came = "nothing was compared" if low is None else f"the interval's lower end is {low:.2f} points"
    raise GateError(
        f"{came}: {verdict.arm} {verdict}",
        expected=f"gain {sign} {points:g} points, shown by the whole interval",
        do="look at the report; more seeds narrow the interval, and --resume with more proof.seeds adds them",
    )
