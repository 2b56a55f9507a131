"""Programs of torch.export: what torch's own loader runs of the hostile ones, and what walking a graph costs.

    PYTHONPATH=tests python bench/programs.py

The first half hands the hostile files of the tests to `torch.export.load`: they make a folder named `canary` in a
temporary folder if they are run, and nothing else.
"""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from hostile import PROGRAMS, UNREAD
from limbeck.models import ResNet, initialise
from limbeck.runtime import read_program

TURNS = 15


def executed(builder: Callable[[Path], object]) -> bool:
    """Whether loading or asking a hostile program by torch's own means runs what is in it."""
    with tempfile.TemporaryDirectory() as folder:
        made = builder(Path(folder))
        path = made[0] if isinstance(made, tuple) else made
        with suppress(Exception):
            torch.export.load(str(path)).module()(torch.zeros(2, 1, 4, 4))
        return (Path(folder) / "canary").exists()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    # One that reads a library or memory would not show by a canary; those that allocate absurdly are left out.
    builders = [each for each in (*PROGRAMS, *UNREAD) if "absurd" not in each.__name__]
    run = [each.__name__ for each in builders if executed(each)]
    print(f"torch {torch.__version__} runs {len(run)} of {len(PROGRAMS) + len(UNREAD)}: {', '.join(run)}")

    module = initialise(ResNet(name="resnet20"), (3, 32, 32), 10, seed=0).eval()
    inputs = torch.randn(128, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.pt2"
        sizes = ({0: torch.export.Dim("batch")},)
        torch.export.save(torch.export.export(module, (inputs[:2],), dynamic_shapes=sizes), path)
        load = seconds(lambda: torch.export.load(path))
        walked, graph = read_program(path), torch.export.load(path).module()
        read = seconds(lambda: read_program(path).rehearse((3, 32, 32)))
    print(f"read and rehearsed {read:.3f} s, torch's loader {load:.3f} s")
    times: dict[str, list[float]] = {"module": [], "walked": [], "torch's graph": []}
    with torch.inference_mode():
        for _ in range(TURNS):
            for name, network in zip(times, (module, walked.eval(), graph), strict=True):
                times[name].append(seconds(lambda network=network: network(inputs)))
    for name, each in times.items():
        print(f"{name}: {1000 * statistics.median(each):.1f} ms for 128 images")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of weights in channels_last
        main()
