"""What three students cost beside their teachers: latency, throughput, and how many fit where the teacher stood.

The classic MNIST pair and Hinton's are those of examples/; the pair of the CIFAR family is resnet110 and resnet20 on
noise, for which two steps of training are enough: what an answer costs does not depend on the weights.

    python bench/edge.py OUT --speed                         # all three, hardly trained, on noise
    python bench/edge.py OUT --classic DIR                   # the classic pair, trained; DIR holds MNIST's IDX files

Each run is left in OUT, with bench.json and a report. On a machine that does other work too, `--processor` takes the
processor's time of one thread instead, and gives no more than two ratios for each runtime.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.benchmark.bench import bench
from limbeck.benchmark.contenders import field_of
from limbeck.benchmark.turns import Task, in_turns
from limbeck.finished import Chosen, finished
from limbeck.measurement import ratio, torch_threads
from limbeck.pipeline import Options, run
from limbeck.preparation import Materials
from limbeck.progress import Stop, unwatched
from limbeck.recipe import read_recipe, recipe_from_tree
from limbeck.report import bench_markdown, write_report

EXAMPLES = Path(__file__).parent.parent / "examples"
BATCHES = (32, 128)
SECONDS = 4.0
"""Of the processor, for each network and batch at most."""
NOISE = 128
"""Examples, of each set: enough to be shown 64 of them."""
PAIRS: dict[str, tuple[tuple[int, ...], dict[str, Any], dict[str, Any]]] = {
    "classic": (
        (1, 28, 28),
        {"name": "convnet", "channels": [256, 512]},
        {"name": "convnet", "channels": [16, 32]},
    ),
    "hinton": (
        (1, 28, 28),
        {"name": "mlp", "hidden": [1200, 1200], "dropout": 0.5},
        {"name": "mlp", "hidden": [800, 800]},
    ),
    "cifar": ((3, 32, 32), {"name": "resnet110"}, {"name": "resnet20"}),
}


def noise(path: Path, shape: tuple[int, ...]) -> Path:
    """Ten classes of nothing."""
    draw = np.random.default_rng(0)
    sets = {f"x_{name}": draw.integers(0, 256, (NOISE, *shape), dtype=np.uint8) for name in ("train", "test")}
    np.savez(path, **sets, y_train=np.arange(NOISE) % 10, y_test=np.arange(NOISE) % 10)
    return path


def hardly_trained(name: str, out: Path) -> dict[str, Any]:
    """The recipe of a pair as plain values: a step or two for each network, since a run is what is measured."""
    shape, teacher, student = PAIRS[name]
    out.mkdir(parents=True, exist_ok=True)
    fit = {"epochs": 1, "batch_size": NOISE, "threads": 1}
    return {
        "data": {"source": "npz", "path": str(noise(out / f"{name}.npz", shape))},
        "teacher": {"kind": "train", "model": teacher, "fit": fit},
        "student": {"model": student},
        "fit": fit,
        "proof": {"seeds": [0], "arms": ["distilled"]},
        "out": str(out / name),
    }


def by_processor(out: Path) -> None:
    """Print how many times the processor's time of the student the teacher takes, for one example and in batches."""
    with tempfile.TemporaryDirectory() as scratch, torch_threads(1):
        field = field_of(finished(out, Materials()), Chosen(), Path(scratch))
        tasks: dict[tuple[str, str, int], Task] = {}
        for who in field.contenders:
            for batch in (1, *BATCHES):
                stored = field.stored.repeat(-(-batch // len(field.stored)), *[1] * (field.stored.ndim - 1))
                tasks[who.name, who.runtime, batch] = Task(partial(who.open, 1), [who.see(stored[:batch])])
        found = in_turns(tasks, seconds=SECONDS, watch=unwatched, stop=Stop(), clock=time.process_time_ns)
    print(f"# {out.name}, by the processor's time of one thread")
    both = ("teacher", "student")
    for runtime in dict.fromkeys(runtime for name, runtime, _ in found if name == "teacher"):
        one = ratio(*(found[name, runtime, 1].medians for name in both))
        of_runtime = {key: times for key, times in found.items() if key[1] == runtime and key[2] > 1}
        best = [
            min((times.median / key[2], key) for key, times in of_runtime.items() if key[0] == who)[1] for who in both
        ]
        many = ratio(*([took / key[2] for took in found[key].medians] for key in best))
        print(
            f"{runtime}: one example {words(one)}; batches of {best[0][2]} and {best[1][2]} {words(many)}", flush=True
        )


def words(found: dict[str, float]) -> str:
    return f"{found['ratio']:.3g} [{found['low']:.3g}, {found['high']:.3g}]"


def told(out: Path, given: argparse.Namespace) -> None:
    """Measure a run, write its report, and print both tables and sentences."""
    if given.processor:
        by_processor(out)
        return
    over = finished(out, Materials())
    found = bench(over, chosen=Chosen(), price=given.price, watch=unwatched)
    write_report(out, over.record)
    print(f"# {out.name}\n\n{bench_markdown(found)}\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--speed", action="store_true", help="measure all pairs on noise")
    parser.add_argument("--classic", type=Path, metavar="DIR", help="train the classic pair on MNIST and measure it")
    parser.add_argument("--pairs", default=",".join(PAIRS), help="of --speed")
    parser.add_argument("--price", type=float)
    parser.add_argument("--processor", action="store_true", help="take the processor's time")
    given = parser.parse_args()
    if given.speed:
        for name in given.pairs.split(","):
            recipe = recipe_from_tree(hardly_trained(name, given.out), {}, where=name)
            run(recipe, Materials(), Options(resume=True, allow_weak=True))
            told(given.out / name, given)
    if given.classic:
        out = given.out / "classic-trained"
        changes = {
            "data.path": str(given.classic),
            "out": str(out),
            "proof.seeds": [0],
            "proof.arms": ["distilled"],
            "fit.threads": 1,
            "teacher.fit.threads": 1,
        }
        record = run(read_recipe(EXAMPLES / "mnist-classic.yaml", changes), Materials(), Options(resume=True))
        teacher, student = record["teacher"], record["arms"]["distilled"][0]
        print(f"accuracy: teacher {100 * teacher['accuracy']:.2f} %, student {100 * student['accuracy']:.2f} %")
        told(out, given)


if __name__ == "__main__":
    main()
