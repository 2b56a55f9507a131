"""The results of the peers, side by side: medians over the turns, ratios to limbeck."""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any


def full_seconds(row: dict[str, Any], epochs: int) -> float:
    """Seconds of all epochs; where fewer were run, the last one stands for those that were not."""
    if row["epochs"] == epochs:
        return float(row["seconds"])
    return float(row["seconds"] + (epochs - row["epochs"]) * row["epoch_seconds"][-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="a file with a line of JSON for each run of a peer")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.results.read_text().splitlines()]
    peers = {row["peer"]: [other for other in rows if other["peer"] == row["peer"]] for row in rows}
    medians = {name: statistics.median(full_seconds(row, options.epochs) for row in own) for name, own in peers.items()}
    print(f"{'peer':22} {'seconds':>9} {'times limbeck':>14} {'test errors':>12}  runs")
    for name, own in sorted(peers.items(), key=lambda item: medians[item[0]]):
        note = f"{len(own)}"
        if own[0]["epochs"] != options.epochs:
            note += f", extrapolated from {own[0]['epochs']} epochs; errors are after these"
        ratio = medians[name] / medians["limbeck"]
        print(
            f"{name:22} {medians[name]:9.1f} {ratio:14.1f} {statistics.median(r['errors'] for r in own):12.0f}  {note}"
        )


if __name__ == "__main__":
    main()
