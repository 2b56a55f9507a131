"""How fast a teacher is asked: limbeck's way beside a plain loop and plain autocast, as shares of the machine's peak.

The peak is the better of two products of large square matrices in the same dtype, measured between the turns.

    python bench/labelling.py [--threads 1] [--turns 9] [--batches 32,128] [--processor]

On a machine that does other work too, `--processor` takes the processor's time instead of the wall's, with one thread.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from limbeck.data import Preprocess
from limbeck.models import ConvNet, initialise
from limbeck.teachers import ModuleTeacher, speed

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def plain(network: nn.Module, seen: torch.Tensor, batch: int, *, autocast: bool) -> Callable[[], None]:
    """The loop that everybody writes, channels last."""

    def ask() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            for part in seen.split(batch):
                network(part.contiguous(memory_format=torch.channels_last))

    return ask


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    work()
    return clock() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--batches", default="16,32,128,512", help="of the plain loops")
    parser.add_argument("--processor", action="store_true", help="take the processor's time")
    given = parser.parse_args()
    clock = time.process_time if given.processor else time.perf_counter
    torch.set_num_threads(given.threads)
    network = initialise(ConvNet(channels=(256, 512)), (1, 28, 28), 10, seed=0).eval()
    inputs = torch.randint(0, 256, (given.examples, 1, 28, 28), dtype=torch.uint8)
    keys = torch.zeros(given.examples, 32, dtype=torch.uint8)
    seen, cpu = inputs.float() / 255, torch.device("cpu")
    ways: dict[tuple[str, str], Callable[[], object]] = {}
    for precision in DTYPES:
        asked = ModuleTeacher(network, Preprocess(scale=255.0), cpu, precision=precision)
        ways["limbeck", precision] = lambda asked=asked: asked.answer(inputs, keys)
        for batch in map(int, given.batches.split(",")):
            name = f"{'autocast' if precision == 'bf16' else 'plain loop'}, batch {batch}"
            ways[name, precision] = plain(network, seen, batch, autocast=precision == "bf16")
    squares = [(p, torch.ones(2, side, side, dtype=DTYPES[p])) for p in DTYPES for side in speed.SIDES]
    took: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    rates: dict[tuple[str, int], list[float]] = {(p, side): [] for p in DTYPES for side in speed.SIDES}
    for work in ways.values():
        work()
    for _ in range(given.turns):
        for way, work in ways.items():
            took[way].append(seconds(work, clock))
        for precision, (square, product) in squares:
            multiply = functools.partial(torch.mm, square, square, out=product)
            products = [seconds(multiply, clock) for _ in range(5)]
            rates[precision, len(square)].append(2 * len(square) ** 3 / statistics.median(products))
    work_of_one = speed.operations(asked, inputs[:1])
    print(
        f"{work_of_one / 1e6:.1f} million operations an example, {given.threads} thread(s), torch {torch.__version__}"
    )
    for precision in DTYPES:
        peak = max(statistics.median(rates[precision, side]) for side in speed.SIDES)
        print(f"{precision}: peak {peak / 1e9:,.0f} billion operations a second")
        for (name, of), times in took.items():
            if of == precision:
                rate = given.examples / statistics.median(times)
                print(f"  {name:<22} {rate:8,.0f} examples/s  {rate * work_of_one / peak:6.1%} of the peak")


if __name__ == "__main__":
    main()
