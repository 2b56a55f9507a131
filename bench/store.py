"""The label store at the size of ImageNet: 1,281,167 answers of 1,000 classes, written and read back.

    python bench/store.py DIR [--examples 1281167] [--classes 1000] [--encoding auto]

The teacher is a matrix product, so that what is timed is the store. Beside it the same bytes are written in files of
the same size, each synced, which is what the disk can do. Anonymous memory is read from /proc while each stage runs:
pages of mapped files, which the kernel may drop, are no part of it.
"""

import argparse
import os
import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import torch

from limbeck.data import Preprocess, key_examples
from limbeck.files import verify, write_bytes
from limbeck.progress import Stop, unwatched
from limbeck.teachers import CallableTeacher, Encoding, Labels, label
from limbeck.teachers.encoding import halved
from limbeck.teachers.labelling import SHARD_SIZE

BATCH = 256


def anonymous() -> int:
    """Bytes of this process that are backed by no file."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))


@contextmanager
def stage(name: str, amount: int):
    """Seconds, bytes a second, and the most anonymous memory beyond that at the start."""
    before, most, done = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], anonymous() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - began
        done.set()
        watcher.join()
        print(f"{name:<34} {seconds:8.1f} s {amount / seconds / 1e6:8.0f} MB/s   {most[0] / 1e6:7.0f} MB more")


def teacher_of(width: int, classes: int) -> CallableTeacher:
    weights = 3 * torch.randn(width, classes, generator=torch.Generator().manual_seed(0))
    return CallableTeacher(lambda inputs: inputs @ weights, Preprocess())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--examples", type=int, default=1_281_167)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--encoding", default="auto")
    parser.add_argument("--k", type=int)
    options = parser.parse_args()
    encoding = Encoding(Labels(encoding=options.encoding, k=options.k), (1.0, 4.0) if options.k else (1.0,))

    inputs = torch.randn(options.examples, 8, generator=torch.Generator().manual_seed(1))
    classes = tuple(map(str, range(options.classes)))
    examples = key_examples(inputs, torch.full((options.examples,), -100), classes)
    who = teacher_of(8, options.classes)
    root = options.directory / "labels"
    shutil.rmtree(root, ignore_errors=True)
    amount = 2 * options.examples * options.classes  # of logits in float16, for all stages alike

    with stage("asked alone, nothing kept", amount):
        for some in inputs.split(128):
            halved(who.answer(some, some).logits)
    with stage("the same bytes to the disk", amount):
        block = os.urandom(2 * SHARD_SIZE * options.classes)
        for number in range(amount // len(block)):
            write_bytes(root / f"{number}.raw", block)
        os.sync()
    shutil.rmtree(root)
    with stage("labelled: asked, measured, written", amount):
        store = label(root, who, examples, encoding=encoding, watch=unwatched, stop=Stop())
        os.sync()
    with stage("opened again", amount):
        store = label(root, who, examples, encoding=encoding, watch=unwatched, stop=Stop())
    with stage("verified", amount):
        verify(store.directory)
    order = torch.randperm(options.examples, generator=torch.Generator().manual_seed(2))
    numbers = torch.zeros(BATCH, dtype=torch.int64)
    for epoch in ("an epoch in random order, cold", "another epoch, warm"):
        with stage(epoch, amount):
            for rows in order.split(BATCH):
                store.signals.fetch(rows, inputs[rows], numbers[: len(rows)])
    some = order[:1000]
    expected, found = who.answer(inputs[some], some).logits, store.signals.fetch(some, inputs[some], torch.tensor(0))
    if options.k is None:
        torch.testing.assert_close(found.logits, expected, rtol=2**-9, atol=2**-9 * float(expected.abs().max()))
    size = sum(file["bytes"] for file in store.manifest["files"].values())
    kept = {k: v for k, v in store.manifest.items() if k not in ("files", "fingerprint")}
    print(f"{size:,} bytes, {size / options.examples:.0f} a record, in {len(store.manifest['files'])} shards; {kept}")


if __name__ == "__main__":
    main()
