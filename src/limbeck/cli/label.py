"""`limbeck label RECIPE.yaml`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from limbeck.cli.output import print_json
from limbeck.cli.progress import progress_on_stderr
from limbeck.cli.settings import AllowWeak, Settings, changes_of, command
from limbeck.errors import Interrupted


def label(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file; examples/ has some.")],
    settings: Settings = None,
    allow_weak: AllowWeak = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Ask nothing: hold every file of the run's stores against its checksum.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask the teacher of a recipe about every training example, into the label store of its run.

    It goes on where it was stopped or killed, and shares the work with every other process that labels the same run:
    under torchrun, or started by hand on machines that see the same directory. `limbeck distill --resume` goes on from
    there.

    Examples:
        limbeck label examples/digits.yaml

        torchrun --nproc-per-node 2 -m limbeck label examples/digits.yaml

        limbeck label examples/digits.yaml --verify
    """
    from limbeck.pipeline import Options, ask_teacher, verify_labels
    from limbeck.preparation import Materials
    from limbeck.recipe import read_recipe
    from limbeck.training import join_world

    plan = read_recipe(recipe, changes_of(settings))
    if verify:
        stores = verify_labels(plan)
    else:
        try:
            with progress_on_stderr() as watch:
                store = ask_teacher(plan, Materials(), Options(allow_weak=allow_weak, watch=watch))
        except Interrupted as stopped:
            again = command("label", recipe, settings, allow_weak and "--allow-weak-teacher")
            raise stopped.advising(again) from None
        if not join_world().leads:
            return
        stores = {store.directory.name: {**store.manifest, **store.pace}}
    found = [{"store": name, **_facts(manifest)} for name, manifest in stores.items()]
    if as_json:
        print_json(found)
        return
    for facts in found:
        print(_sentence(facts, "sound" if verify else "complete"))


def _facts(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says, but for the names of its files and its fingerprint."""
    files = manifest["files"].values()
    kept = {key: value for key, value in manifest.items() if key not in ("format", "fingerprint", "files")}
    return {**kept, "shards": len(files), "bytes": sum(file["bytes"] for file in files)}


def _sentence(facts: dict[str, Any], state: str) -> str:
    views = f" x {facts['views']} views" if facts["views"] > 1 else ""
    tail = f", {facts['mean_tail']:.2g} of the probability in tails" if "mean_tail" in facts else ""
    return (
        f"labels/{facts['store']} is {state}: {facts['distinct']:,} examples{views} in {facts['shards']} shards, "
        f"{facts['bytes']:,} bytes as {facts['encoding']}; largest error of a logit {facts['largest_error']:.2g}, "
        f"{facts['mean_divergence']:.2g} nats lost on average{tail}"
    )
