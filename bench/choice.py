"""How much nearer to the best setting the smoothed choice is than the highest value, where the truth is known.

    PYTHONPATH=tests python bench/choice.py

40 settings of temperature and alpha at random, one noisy value each; whole, or with all but the 13 that lead at a third
of the steps pruned there. Points of true accuracy below the best of the complete trials, mean over 100 searches.
"""

from statistics import mean, stdev

from made_trials import SPACE, choose, cut, drawn, truth

SEARCHES, WHOLE = 100, 13


def main() -> None:
    print("| luck of a training, points | trials | highest value | smoothed choice | difference (standard error) |")
    print("|---|---|---|---|---|")
    for noise in (0.001, 0.003, 0.006):
        for pruned in (False, True):
            plain, chosen = zip(*(shortfalls(seed, noise, pruned) for seed in range(SEARCHES)), strict=True)
            gains = [p - c for p, c in zip(plain, chosen, strict=True)]
            error = stdev(gains) / SEARCHES**0.5
            cells = f"{mean(plain):.3f} | {mean(chosen):.3f} | {mean(gains):.3f} ({error:.3f})"
            print(f"| {100 * noise:.1f} | {'pruned' if pruned else 'whole'} | {cells} |")


def shortfalls(seed: int, noise: float, pruned: bool) -> tuple[float, float]:
    """Of the trial with the highest value, and of the one that is chosen."""
    results = drawn(seed, noise=noise)
    if pruned:
        leading = sorted(results, key=lambda result: -result.curve[1][1])[:WHOLE]
        results = [result if result in leading else cut(result, 1) for result in results]
    true = {result.number: 100 * truth(result.setting) for result in results if result.state == "complete"}
    highest = max((r for r in results if r.state == "complete"), key=lambda result: result.value)
    best = max(true.values())
    return best - true[highest.number], best - true[choose(results, SPACE)]


if __name__ == "__main__":
    main()
