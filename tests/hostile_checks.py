"""Every hostile file opened in this one process, which is watched; what came of it is printed as JSON.

PYTHONPATH=src:tests:tests/teachers python tests/hostile_checks.py FOLDER
"""

import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from asking import examples_of

import hostile
import hostile_answers
from hostile_data import CASES, good_ones
from limbeck.data import Preprocess
from limbeck.errors import LimbeckError
from limbeck.models import Mlp
from limbeck.teachers import (
    AnswersTeacher,
    Audience,
    OnnxTeacher,
    ProgramTeacher,
    SavedTeacher,
    SklearnTeacher,
    WeightsTeacher,
)

SECONDS, FLIPS = 30, 60
SEEN: list[str] = []
"""What this process did that a reader must not: opened a file of the system, looked up a name for a pickle, ran one."""


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    told = event in ("pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.mkdir", "socket.connect")
    if told or (event == "open" and str(arguments[0]).startswith(("/etc/passwd", "/dev/zero"))):
        SEEN.append(f"{event} {arguments[0]}")


def outcome(opener: Any) -> dict[str, Any]:
    SEEN.clear()
    began = time.perf_counter()
    try:
        opener()
    except LimbeckError as error:
        said = {"status": error.exit_status, "came": error.came, "expected": error.expected, "do": error.do}
    except BaseException:
        said = {"traceback": traceback.format_exc()}
    else:
        said = {"opened": True}
    return {**said, "seen": list(SEEN), "seconds": time.perf_counter() - began}


def teacher(spec: Any, path: Path) -> Any:
    return lambda: spec(str(path)).open(Audience(examples_of(6), Preprocess(scale=255.0)))


TEACHERS = {
    "program": (hostile.PROGRAMS, lambda path: ProgramTeacher(path=path)),
    "onnx": (hostile.ONNX, lambda path: OnnxTeacher(path=path)),
    "weights": (hostile.WEIGHTS, lambda path: WeightsTeacher(path=path, model=Mlp(hidden=(4,)))),
    "sklearn": (hostile_answers.ESTIMATORS, lambda path: SklearnTeacher(path=path)),
    "table": (hostile_answers.TABLES, lambda path: AnswersTeacher(path=path)),
    "saved": ((), lambda path: SavedTeacher(path=path)),
}
PATHS = (
    "\0",
    "x\0.onnx",
    "~nobody-of-this-name/x",
    "/dev/zero",
    "/dev/stdin",
    "/etc/passwd",
    "/etc",
    "../../../etc/passwd",
)


def main() -> None:
    root = Path(sys.argv[1])
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))  # a bomb that goes off harms no other process

    def too_long(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} seconds")

    signal.signal(signal.SIGALRM, too_long)
    said: dict[str, Any] = {}
    todo: list[tuple[str, Any]] = list(CASES.items())
    for builders, spec in TEACHERS.values():
        for builder in builders:
            todo.append((builder.__name__, lambda folder, b=builder, s=spec: _opener(b, s, folder)))
    sys.addaudithook(watch)
    base = 0
    for name, builder in todo:
        folder = Path(tempfile.mkdtemp(dir=root))
        opener, words = builder(folder)
        base = base or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(name, file=sys.stderr, flush=True)
        signal.alarm(SECONDS)
        said[name] = {**outcome(opener), "words": words, "canary": bool([*folder.rglob("canary*")])}
        signal.alarm(0)
        said[name]["grown"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    for kind, (_, spec) in TEACHERS.items():
        for path in PATHS:
            said[f"{kind} at {path!r}"] = {**outcome(teacher(spec, path)), "words": "", "canary": False, "path": True}  # type: ignore[arg-type]
    damaged = fuzzed(root)
    print(
        json.dumps(
            {"said": said, "damaged": damaged, "grown": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base}
        )
    )


def _opener(builder: hostile.Builder, spec: Any, folder: Path) -> tuple[Any, str]:
    path, words = builder(folder)
    return teacher(spec, path), words


def fuzzed(root: Path) -> list[Any]:
    """A file of each format with flipped bytes, or cut: opened, or refused."""
    folder, chance, found = root / "fuzz", random.Random(0), []
    folder.mkdir()
    for kind, path, opener in good_ones(folder):
        good = path.read_bytes()
        first = outcome(opener)
        assert first.get("opened"), first
        for _ in range(FLIPS):
            data = bytearray(good)
            for _ in range(chance.choice([1, 1, 3])):
                data[chance.randrange(len(data))] = chance.choice([0, 255, chance.randrange(256)])
            path.write_bytes(data[: chance.choice([None, None, chance.randrange(len(data))])])
            found.append({"kind": kind, **outcome(opener)})
        path.write_bytes(good)
    return found


if __name__ == "__main__":
    main()
