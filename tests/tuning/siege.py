"""Eight workers on one study of 200 trials, of which 30 are killed at random moments; prints what came of it.

Workers are forked, so that 38 of them need not load torch: nothing here trains.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from test_study import run, search_in

TRIALS, WORKERS, KILLS = 200, 8, 30


def work(directory: Path, seed: int) -> None:
    chance = random.Random(seed)
    search = search_in(directory, trials=TRIALS, on_disk=True)
    while not search.done:
        with search.next_trial() as begun:
            if begun is None:
                time.sleep(0.02)
                continue
            time.sleep(chance.uniform(0.01, 0.1))
            run(search, begun)
            with open(directory / "told.txt", "a") as told:
                told.write(f"{begun.number}\n")


def start(directory: Path, seed: int) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work(directory, seed)
            status = 0
        finally:
            os._exit(status)
    return pid


def main(directory: Path) -> None:
    chance = random.Random(1)
    workers = {start(directory, seed) for seed in range(WORKERS)}
    kills = 0
    while workers:
        time.sleep(chance.uniform(0.05, 0.25))
        if kills < KILLS:
            victim = chance.choice(sorted(workers))
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            workers.discard(victim)
            kills += 1
            workers.add(start(directory, WORKERS + kills))
        for pid in list(workers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                workers.discard(pid)
                if status:
                    raise SystemExit(f"a worker failed with {status}")
    search = search_in(directory, trials=TRIALS, on_disk=True)
    results = search.standing().results
    told = [int(line) for line in (directory / "told.txt").read_text().split()]
    print(json.dumps({
        "kills": kills,
        "numbers": [result.number for result in results],
        "told": len(told), "told_twice": sorted({number for number in told if told.count(number) > 1}),
        "left": search.standing().running,
        "best": max(result.value for result in results if result.number),
    }))  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
