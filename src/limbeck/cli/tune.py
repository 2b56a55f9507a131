"""`limbeck tune RECIPE.yaml`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limbeck.cli.output import print_json
from limbeck.cli.progress import progress_on_stderr
from limbeck.cli.settings import AllowWeak, Settings, changes_of, command
from limbeck.errors import Interrupted

if TYPE_CHECKING:
    from limbeck.recipe import Recipe


def tune(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file; what it says under `tune` is searched.")],
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search in `out`, or work on it beside others.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the search in `out` first.")] = False,
    allow_weak: AllowWeak = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    helps: Annotated[int | None, typer.Option("--helps", hidden=True)] = None,
) -> None:
    """Find the temperature and alpha, and more on request, with which a student learns best.

    Validation chooses; then the best setting and the recipe's own are trained again from fresh seeds, and the test set
    is read once. The recipe for the best setting is `tune/best.yaml` in `out`.

    Examples:
        limbeck tune examples/tune.yaml

        limbeck tune examples/digits.yaml --set out=runs/tuned --set tune.trials=20

        limbeck tune examples/tune.yaml --resume
    """
    from limbeck.pipeline import Options
    from limbeck.preparation import Materials
    from limbeck.recipe import read_recipe
    from limbeck.tuning import tune

    plan = read_recipe(recipe, changes_of(settings))
    try:
        with progress_on_stderr() as watch:
            record = tune(plan, Materials(), Options(resume, overwrite, allow_weak, watch), helps=helps)
    except Interrupted as stopped:
        flags = (allow_weak and "--allow-weak-teacher", as_json and "--json", "--resume")
        raise stopped.advising(command("tune", recipe, settings, *flags)) from None
    if helps is not None:
        return
    _tell(plan, record, as_json)


def _tell(plan: "Recipe", record: dict[str, Any], as_json: bool) -> None:
    """Write the report, and say what came of the search."""
    from limbeck.report import landscape_of, search_lines, write_report
    from limbeck.tuning import directory_of

    directory = directory_of(plan)
    path = write_report(directory, record)
    if as_json:
        print_json(record)
        return
    for line in search_lines(record, landscape_of(directory)):
        print(line)
    print(f"recipe: {directory / 'best.yaml'}\nreport: {path}")
