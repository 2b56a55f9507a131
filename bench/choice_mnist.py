"""How much nearer to the best setting the smoothed choice is than the highest value, on students really trained.

    PYTHONPATH=tests python bench/choice_mnist.py DIR

MNIST (DIR has its four IDX files), 1,000 labelled images, a student of 25,450 parameters, 470 steps, 10,000 images to
choose on. 150 settings of temperature and alpha, each trained from three seeds and looked at after a half and three
quarters of the steps. 50 searches among the trainings of each seed: so many settings at random, all whole, or the worse
half of those so far pruned at each look. The truth is the smooth surface through the other two seeds.
"""

import sys
from statistics import mean, stdev

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.data import Idx
from limbeck.tuning.results import TrialResult
from limbeck.tuning.smoothing import smoothed
from made_trials import SPACE, choose, trial

SETTINGS, SEEDS, AT_ONCE, SEARCHES = 150, 3, 50, 50
STEPS, LOOKS, BATCH, HIDDEN = 470, (235, 352, 470), 64, 32


def main() -> None:
    torch.set_num_threads(1)
    train = Idx(path=sys.argv[1]).load().train
    inputs, labels = (train.inputs.reshape(-1, 784).float() / 255 - 0.13) / 0.31, train.labels
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    held, few = order[:10_000], order[10_000:11_000]
    logits = taught(inputs[order[10_000:]], labels[order[10_000:]])(inputs[few]).detach()
    rng = np.random.default_rng(0)
    settings = [(float(20 ** rng.random()), float(rng.random())) for _ in range(SETTINGS)]
    curves = [
        students(
            settings[i : i + AT_ONCE], seed * SETTINGS + i, inputs[few], labels[few], logits, inputs[held], labels[held]
        )
        for seed in range(SEEDS)
        for i in range(0, SETTINGS, AT_ONCE)
    ]
    curve_TSK = torch.cat(curves).reshape(SEEDS, SETTINGS, len(LOOKS)).tolist()
    luck = stdev(curve_TSK[0][s][-1] - curve_TSK[1][s][-1] for s in range(SETTINGS)) / 2**0.5
    print(f"luck of a training: {100 * luck:.2f} points")
    truths = [100 * truth_beside(seed, settings, curve_TSK) for seed in range(SEEDS)]
    print("| settings | trials | highest value | smoothed choice | by seed |\n|---|---|---|---|---|")
    for size in (12, 40):
        for prune in (False, True):
            by_seed = [
                [shortfalls(search, size, prune, settings, curve_TSK[seed], truths[seed]) for search in range(SEARCHES)]
                for seed in range(SEEDS)
            ]
            means = [tuple(map(mean, zip(*pairs, strict=True))) for pairs in by_seed]
            plain, chosen = map(mean, zip(*means, strict=True))
            each = ", ".join(f"{p:.2f} and {c:.2f}" for p, c in means)
            print(f"| {size} | {'pruned' if prune else 'whole'} | {plain:.3f} | {chosen:.3f} | {each} |")


def truth_beside(seed: int, settings: list[tuple[float, float]], curve_TSK: list[list[list[float]]]) -> np.ndarray:
    """What the other seeds say of each setting."""
    others = [other for other in range(SEEDS) if other != seed]
    results = [
        result(SEEDS * place + other, settings[place], curve_TSK[other][place], len(LOOKS))
        for place in range(SETTINGS)
        for other in others
    ]
    smooth = smoothed(results, SPACE)
    assert smooth is not None
    return smooth.at([named(setting) for setting in settings])[0]


def taught(inputs: Tensor, labels: Tensor) -> torch.nn.Module:
    """A teacher of 400 hidden units, four epochs on all other labels."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(784, 400), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(400, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(4):
        for batch in torch.randperm(len(labels)).split(250):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    return model.eval()


def students(
    settings: list[tuple[float, float]],
    first: int,
    inputs: Tensor,
    labels: Tensor,
    logits: Tensor,
    held: Tensor,
    held_labels: Tensor,
) -> Tensor:
    """Accuracy [students, looks] of a student for each setting, all trained at once; their seeds begin at `first`."""
    generators = [torch.Generator().manual_seed(first + i) for i in range(len(settings))]
    drawn = [[torch.rand(n, m, generator=g) * 2 - 1 for n, m in ((784, HIDDEN), (HIDDEN, 10))] for g in generators]
    weights = [torch.stack(of).div(len(of[0]) ** 0.5).requires_grad_() for of in zip(*drawn, strict=True)]
    biases = [torch.zeros(len(settings), 1, n, requires_grad=True) for n in (HIDDEN, 10)]
    epochs = -(-STEPS * BATCH // len(labels))
    order = torch.stack(
        [torch.cat([torch.randperm(len(labels), generator=g) for _ in range(epochs)]) for g in generators]
    )
    temperature = torch.tensor([[[t]] for t, _ in settings])
    alpha = torch.tensor([a for _, a in settings])
    optimizer = torch.optim.AdamW([*weights, *biases], lr=0.003)

    def outputs(batch: Tensor) -> Tensor:
        return (batch @ weights[0] + biases[0]).relu() @ weights[1] + biases[1]

    found = []
    for step in range(1, STEPS + 1):
        batch = order[:, (step - 1) * BATCH : step * BATCH]
        given = outputs(inputs[batch])
        hard = F.cross_entropy(given.flatten(0, 1), labels[batch].flatten(), reduction="none").view(batch.shape).mean(1)
        log_p, log_q = (F.log_softmax(x / temperature, dim=-1) for x in (logits[batch], given))
        soft = (temperature**2 * log_p.exp() * (log_p - log_q)).sum(-1).mean(1)
        optimizer.zero_grad()
        (alpha * hard + (1 - alpha) * soft).sum().backward()
        optimizer.step()
        if step in LOOKS:
            with torch.no_grad():
                answers = torch.cat([outputs(part).argmax(-1) for part in held.split(1000)], dim=1)
            found.append((answers == held_labels).float().mean(1))
    return torch.stack(found, dim=1)


def named(setting: tuple[float, float]) -> dict[str, float]:
    return dict(zip(SPACE, setting, strict=True))


def result(number: int, setting: tuple[float, float], curve: list[float], looks: int) -> TrialResult:
    """A trial that was stopped after so many looks."""
    points = tuple(zip(LOOKS[:looks], curve[:looks], strict=True))
    state = "complete" if looks == len(LOOKS) else "pruned"
    return trial(number, named(setting), points[-1][1], state=state, curve=points, steps=points[-1][0])


def shortfalls(
    seed: int,
    size: int,
    prune: bool,
    settings: list[tuple[float, float]],
    curve_SK: list[list[float]],
    truth: np.ndarray,
) -> tuple[float, float]:
    """Points of truth below the best tried: of the highest value, and of the choice."""
    rng = np.random.default_rng(seed)
    taken = rng.choice(SETTINGS, size, replace=False).tolist()
    seen: list[list[float]] = [[] for _ in LOOKS[1:]]
    results = []
    for number, place in enumerate(taken):
        curve, looks = curve_SK[place], 1
        while looks < len(LOOKS):
            seen[looks - 1].append(curve[looks - 1])
            if prune and curve[looks - 1] < np.median(seen[looks - 1]):
                break
            looks += 1
        results.append(result(number, settings[place], curve, looks))
    complete = [r for r in results if r.state == "complete"]
    best = max(truth[place] for place in taken)
    highest = max(complete, key=lambda r: r.value).number
    return best - truth[taken[highest]], best - truth[taken[choose(results, SPACE)]]


if __name__ == "__main__":
    main()
