"""The results of the peers, side by side: medians over the turns, on the wall and of the processor, ratios to limbeck.

On a busy machine the wall says little; the processor's seconds then say more.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any


def whole(row: dict[str, Any], field: str, epochs: int) -> float:
    """Seconds of all epochs; where fewer were run, the last of them stands for each that was not."""
    missing = epochs - row["epochs"]
    lap = row["laps"][-1][0 if field == "seconds" else 1] if missing else 0.0
    return float(row[field] + missing * lap)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="a file with a line of JSON for each run of a peer")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.results.read_text().splitlines()]
    peers = {row["peer"]: [other for other in rows if other["peer"] == row["peer"]] for row in rows}

    def median(name: str, field: str) -> float:
        return statistics.median(whole(row, field, options.epochs) for row in peers[name])

    print(f"{'peer':20} {'wall s':>8} {'x limbeck':>9} {'cpu s':>8} {'x limbeck':>9} {'test errors':>12}  runs")
    for name in sorted(peers, key=lambda name: median(name, "cpu_seconds")):
        own = peers[name]
        note = f"{len(own)}"
        if own[0]["epochs"] != options.epochs:
            note += f" of {own[0]['epochs']} epochs, extrapolated; errors are after these"
        wall, cpu = median(name, "seconds"), median(name, "cpu_seconds")
        print(
            f"{name:20} {wall:8.1f} {wall / median('limbeck', 'seconds'):9.1f} {cpu:8.1f} "
            f"{cpu / median('limbeck', 'cpu_seconds'):9.1f} {statistics.median(r['errors'] for r in own):12.0f}  {note}"
        )


if __name__ == "__main__":
    main()
