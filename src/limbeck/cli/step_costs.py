"""What a step of each objective costs on this machine."""

import statistics
import time
from typing import Any

EXAMPLES, CLASSES, MAPS, TURNS = 128, 10, (64, 8, 8), 15


def step_costs() -> dict[str, float]:
    """Milliseconds of value and gradient, by name: 128 examples of 10 classes, or of features [64, 8, 8]."""
    from limbeck.objectives import CATALOGUE

    return {name: _milliseconds(kind) for name, kind in CATALOGUE.items()}


def _milliseconds(kind: Any) -> float:
    """The median of some turns, warm, of a batch."""
    import torch

    from limbeck.signal import Signal

    objective = kind(student="tap", teacher="tap") if kind.traits.taps else kind()
    draw = torch.Generator().manual_seed(0)
    shapes = {"logits": (EXAMPLES, CLASSES), "tap": (EXAMPLES, *MAPS)}
    student, teacher = (
        {name: torch.randn(shape, generator=draw, requires_grad=learns) for name, shape in shapes.items()}
        for learns in (True, False)
    )
    labels = torch.arange(EXAMPLES) % CLASSES
    output, signal = (Signal(x["logits"], {"tap": x["tap"]}) for x in (student, teacher))
    extra = (objective.build(MAPS, MAPS),) if kind.traits.taps else ()
    seconds = []
    for _ in range(TURNS):
        began = time.perf_counter()
        objective(output, signal, labels, *extra).mean().backward()
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[TURNS // 3 :])
