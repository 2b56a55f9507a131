"""`limbeck demo`."""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import typer

from limbeck.cli.output import print_json
from limbeck.cli.progress import progress_on_stderr
from limbeck.errors import Interrupted


def demo(
    out: Annotated[Path, typer.Option(help="Where the two runs go; an earlier demo there is replaced.")] = Path(
        "runs/demo"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print both records as JSON.")] = False,
) -> None:
    """Tell the whole story on real handwritten digits, in under a minute and without a network.

    Examples:
        limbeck demo

        limbeck demo --out runs/story
    """
    from limbeck.files import path_of, write_text
    from limbeck.report import demo_markdown, peek

    out = path_of(str(out), "--out")
    whisper = _run("whisper", {"out": str(out / "whisper")})
    more = _run("more", {"out": str(out / "more"), "teacher.path": str(out / "whisper" / "teacher")})
    text = demo_markdown(peek(out / "whisper"), whisper, more)
    write_text(out / "report.md", text)
    if as_json:
        print_json({"whisper": whisper, "more": more})
        return
    print(text)
    print(f"reports: {out}/report.md, {out}/whisper/report.html, {out}/more/report.html")
    print(f"look at another digit: limbeck peek {out}/more --example 7")


def _run(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Run one of the recipes that come with the package."""
    from limbeck.pipeline import Options, run
    from limbeck.preparation import Materials
    from limbeck.recipe import read_recipe
    from limbeck.report import write_report

    with as_file(files("limbeck.cli") / "recipes" / f"{name}.yaml") as path:
        recipe = read_recipe(path, changes)
    try:
        with progress_on_stderr() as watch:
            record = run(recipe, Materials(), Options(overwrite=True, watch=watch))
    except Interrupted as stopped:
        raise stopped.advising("run limbeck demo again; it begins anew") from None
    write_report(Path(recipe.out), record)
    return record
