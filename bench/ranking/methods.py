"""What is ranked: every objective of the catalogue, each with a few settings to choose from on held-out images.

The first setting of each is the published one, as far as it fits; the others vary the weight or the temperature, which
depend on data and architecture more than papers say.
"""

from collections.abc import Iterator
from typing import Any

Setting = dict[str, Any]
"""A recipe's `distill`."""

TAP = {"student": "conv2", "teacher": "conv2"}


def soft(objective: dict[str, Any], *pairs: tuple[float, float]) -> list[Setting]:
    """An objective on logits in the place of soft targets, for pairs of student_weight and distillation_weight."""
    return [{"student_weight": s, "distillation_weight": d, "objective": objective} for s, d in pairs]


def each(objectives: list[dict[str, Any]], *pairs: tuple[float, float]) -> list[Setting]:
    """The same for several settings of an objective."""
    return [setting for objective in objectives for setting in soft(objective, *pairs)]


def tapped(*terms: tuple[float, dict[str, Any]], scales: tuple[float, ...] = (1.0, 0.1, 10.0, 100.0)) -> list[Setting]:
    """Terms on features beside the labels alone, their published weights times each scale."""
    return [
        {
            "student_weight": 1.0,
            "distillation_weight": 0.0,
            "terms": [{"weight": weight * scale, "objective": {**objective, **TAP}} for weight, objective in terms],
        }
        for scale in scales
    ]


def temperatures(objective: dict[str, Any], *values: float) -> list[dict[str, Any]]:
    return [{**objective, "temperature": value} for value in values]


HINTON = (0.1, 0.9)
LOUD = (0.1, 9.0)
"""The weights of the code for logit standardisation; soft targets are given the same chance."""

METHODS: dict[str, list[Setting]] = {
    "soft-targets": each(temperatures({"name": "soft-targets"}, 4, 1, 2, 8, 16), HINTON)
    + each(temperatures({"name": "soft-targets"}, 4, 8, 16), LOUD),
    "soft-targets, reverse-kl": each(
        temperatures({"name": "soft-targets", "divergence": "reverse-kl"}, 4, 1, 2, 8, 16), HINTON
    ),
    "soft-targets, jsd": each(temperatures({"name": "soft-targets", "divergence": "jsd"}, 4, 1, 8), HINTON, (0.1, 3.6)),
    "soft-targets, total-variation": each(
        temperatures({"name": "soft-targets", "divergence": "total-variation"}, 4, 1, 8, 16), HINTON
    ),
    "soft-targets, standardised": each(
        temperatures({"name": "soft-targets", "standardise": True}, 2, 4), (0.1, 9.0), (0.1, 0.9)
    ),
    "dkd": each([{"name": "dkd"}, {"name": "dkd", "non_target_weight": 2.0}], (1.0, 1.0), (1.0, 0.25)),
    "dkd, standardised": soft({"name": "dkd", "standardise": True, "temperature": 2.0}, (1.0, 9.0), (1.0, 1.0)),
    "dist": each(temperatures({"name": "dist"}, 4, 1), (1.0, 2.0), (0.1, 2.0)),
    "nkd": each(
        [{"name": "nkd"}, {"name": "nkd", "non_target_weight": 3.5, "temperature": 3.0}], (1.0, 1.0), (0.1, 1.0)
    ),
    "ttm": each([{"name": "ttm"}, {"name": "ttm", "exponent": 0.25}], (1.0, 45.0), (1.0, 5.0)),
    "ttm, weighted": each(
        [{"name": "ttm", "weighted": True}, {"name": "ttm", "exponent": 0.25, "weighted": True}],
        (1.0, 45.0),
        (1.0, 5.0),
    ),
    "logit-mse": soft({"name": "logit-mse"}, (0.1, 0.9), (0.1, 0.1), (0.1, 9.0)),
    "logit-mse, centred": soft({"name": "logit-mse", "centred": True}, (0.1, 0.9), (0.1, 0.1), (0.1, 9.0)),
    "bernoulli-targets": each(temperatures({"name": "bernoulli-targets"}, 4, 2), HINTON),
    "hard-targets": soft({"name": "hard-targets"}, HINTON),
    "hint": tapped((100.0, {"name": "hint"}), scales=(1.0, 0.1, 0.01, 10.0)),
    "feature, cosine": tapped((10.0, {"name": "feature", "distance": "cosine"})),
    "attention-transfer": tapped((1000.0, {"name": "attention-transfer"})),
    "vid": tapped((1.0, {"name": "vid"})),
    "channel-wise": tapped((5.0, {"name": "channel-wise"})),
    "hcl": tapped((5.0, {"name": "hcl"})),
    "rkd-distance": tapped((25.0, {"name": "rkd-distance"})),
    "rkd-angle": tapped((50.0, {"name": "rkd-angle"})),
    "rkd, both": tapped((25.0, {"name": "rkd-distance"}), (50.0, {"name": "rkd-angle"})),
    "pkt": tapped((30000.0, {"name": "pkt"})),
    "similarity-preserving": tapped((3000.0, {"name": "similarity-preserving"})),
    "in-batch-contrastive": tapped((0.8, {"name": "in-batch-contrastive"})),
}
"""Name in the table -> settings to choose from."""


def with_soft_targets(chosen: dict[str, Setting]) -> Iterator[tuple[str, Setting]]:
    """Each method on features again, beside the chosen soft targets: name and setting."""
    soft_targets = chosen["soft-targets"]
    for name, setting in chosen.items():
        if "terms" in setting:
            yield f"soft-targets + {name}", {**soft_targets, "terms": setting["terms"]}
