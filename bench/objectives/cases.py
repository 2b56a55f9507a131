"""What is compared: limbeck's objectives with their settings, the shapes, and who else has them.

The settings are the same on all sides; where values still differ, theirs is another function, and the table says so.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from peers import (
    Make,
    Published,
    Torchdistill,
    classified,
    on_pairs,
    paired,
    published_vid,
    spoken,
    told,
    torchdistill_vid,
)
from torch import Tensor

TEMPERATURE = 4.0
SQUARE = TEMPERATURE**2

Shapes = tuple[tuple[int, ...], tuple[int, ...]]
"""The student's and the teacher's, with the batch."""

LOGITS: tuple[Shapes, ...] = tuple((shape, shape) for shape in ((128, 10), (128, 100), (512, 1000)))
MAPS: tuple[Shapes, ...] = (((64, 64, 8, 8), (64, 256, 8, 8)), ((128, 128, 4, 4), (128, 128, 4, 4)))
RELATIONS: tuple[Shapes, ...] = tuple(
    ((n, d), (n, d)) for n, d in ((64, 64), (64, 512), (256, 64), (256, 512), (1024, 64))
)


@dataclass(frozen=True)
class Case:
    """One setting of an objective of the catalogue.

    Args:
        objective: its name there.
        shapes: of the tensors.
        settings: of the objective.
        torchdistill: theirs, if they have it.
        published: the authors', or that of the repository that others copy from.
        plain: torch's own expression, where nobody published one.
        most: above this many examples the peers are left out: they would take more than 8 GB.
    """

    objective: str
    shapes: tuple[Shapes, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    torchdistill: Torchdistill | None = None
    published: Published | None = None
    plain: Make | None = None
    most: int = 1_000_000

    @property
    def label(self) -> str:
        """The name, and what is not the objective's first form."""
        kinds = [str(self.settings[key]) for key in ("divergence", "distance") if key in self.settings]
        return " ".join([self.objective, *kinds, *(key for key, value in self.settings.items() if value is True)])


def _distillm(symbol: str) -> Published:
    """No temperature, and a batch of language whose labels say which rows count."""
    more = {"lam": 0.5} if symbol == "js_distance" else {}
    return Published(
        "jongwooko/distillm",
        "distillm/losses.py",
        symbol,
        classified(lambda f: lambda s, t, y: f(s, t, {"label": y}, **more), temperature=TEMPERATURE),
    )


def _zoo(file: str, symbol: str, make: Make) -> Published:
    return Published("HobbitLong/RepDistiller", f"distiller_zoo/{file}.py", symbol, make)


def _rkd(symbol: str) -> Published:
    return Published("lenscloth/RKD", "metric/loss.py", symbol, on_pairs(lambda c: c()))


def _zoo_of_ttm(file: str, symbol: str, make: Callable[[Any], Any]) -> Published:
    return Published("zkxufo/TTM", f"distiller_zoo/{file}.py", symbol, on_pairs(make))


def _cosine(student: Tensor, teacher: Tensor) -> Tensor:
    return (1 - F.cosine_similarity(student, teacher, dim=1)).mean()


def _pseudo_labels(student: Tensor, teacher: Tensor) -> Tensor:
    return F.cross_entropy(student, teacher.argmax(dim=1))


LOGIT_CASES = (
    Case(
        "soft-targets",
        LOGITS,
        {"temperature": TEMPERATURE},
        torchdistill=Torchdistill("KDLoss", told(lambda c: spoken(c, temperature=TEMPERATURE, alpha=0.0), SQUARE)),
        published=_zoo("KD", "DistillKL", on_pairs(lambda c: c(TEMPERATURE))),
    ),
    Case(
        "soft-targets",
        LOGITS,
        {"temperature": TEMPERATURE, "divergence": "reverse-kl"},
        published=_distillm("reverse_kl"),
    ),
    Case(
        "soft-targets",
        LOGITS,
        {"temperature": TEMPERATURE, "divergence": "jsd"},
        published=_distillm("js_distance"),
    ),
    Case(
        "soft-targets",
        LOGITS,
        {"temperature": TEMPERATURE, "divergence": "total-variation"},
        published=_distillm("tv_distance"),
    ),
    Case(
        "soft-targets",
        LOGITS,
        {"temperature": 2.0, "standardise": True},
        torchdistill=Torchdistill("LogitStdKDLoss", told(lambda c: spoken(c, temperature=2.0, alpha=0.0), 4.0)),
        published=Published(
            "sunshangquan/logit-standardization-KD",
            "mdistiller/distillers/KD.py",
            "kd_loss",
            classified(lambda f: lambda s, t, y: f(s, t, 2.0, True)),
        ),
    ),
    Case(
        "dkd",
        LOGITS,
        {"temperature": TEMPERATURE, "target_weight": 1.0, "non_target_weight": 8.0},
        published=Published(
            "megvii-research/mdistiller",
            "mdistiller/distillers/DKD.py",
            "dkd_loss",
            classified(lambda f: lambda s, t, y: f(s, t, y, 1.0, 8.0, TEMPERATURE)),
        ),
    ),
    Case(
        "dist",
        LOGITS,
        {"temperature": TEMPERATURE},
        torchdistill=Torchdistill("DISTLoss", told(lambda c: spoken(c, tau=TEMPERATURE))),
        published=_zoo_of_ttm("dist", "DIST", lambda c: c(tau=TEMPERATURE)),
    ),
    Case(
        "nkd",
        LOGITS,
        published=Published(
            "yzd-v/cls_KD",
            "mmcls/distillation/losses/nkd.py",
            "NKDLoss",
            classified(lambda c: c("nkd", True)),
        ),
    ),
    Case(
        "ttm",
        LOGITS,
        {"exponent": 0.1},
        published=_zoo_of_ttm("ttm", "TTM", lambda c: c(0.1)),
    ),
    Case(
        "ttm",
        LOGITS,
        {"exponent": 0.1, "weighted": True},
        published=_zoo_of_ttm("wttm", "WTTM", lambda c: c(0.1)),
    ),
    Case("logit-mse", LOGITS, plain=on_pairs(lambda _: F.mse_loss)),
    Case("hard-targets", LOGITS, plain=on_pairs(lambda _: _pseudo_labels)),
    Case("bernoulli-targets", LOGITS),
)

FEATURE_CASES = (
    Case("hint", MAPS, published=_zoo("FitNet", "HintLoss", on_pairs(lambda c: c()))),
    Case("feature", MAPS, {"distance": "l2"}, plain=on_pairs(lambda _: F.mse_loss)),
    Case("feature", MAPS, {"distance": "l1"}, plain=on_pairs(lambda _: F.l1_loss)),
    Case("feature", MAPS, {"distance": "cosine"}, plain=on_pairs(lambda _: _cosine)),
    Case(
        "attention-transfer",
        MAPS,
        torchdistill=Torchdistill("ATLoss", told(paired)),
        published=_zoo("AT", "Attention", on_pairs(lambda c: c().at_loss)),
    ),
    Case(
        "vid",
        MAPS,
        torchdistill=Torchdistill("VIDLoss", torchdistill_vid),
        published=_zoo("VID", "VIDLoss", published_vid),
    ),
    Case(
        "channel-wise",
        MAPS,
        published=Published(
            "open-mmlab/mmrazor",
            "mmrazor/models/losses/cwd.py",
            "ChannelWiseDivergence",
            on_pairs(lambda c: c()),
        ),
    ),
    Case(
        "hcl",
        MAPS,
        torchdistill=Torchdistill("HierarchicalContextLoss", told(spoken, output=lambda features: (features, None))),
        published=Published(
            "megvii-research/mdistiller",
            "mdistiller/distillers/ReviewKD.py",
            "hcl_loss",
            on_pairs(lambda f: lambda s, t: f([s], [t])),
        ),
    ),
)

RELATION_CASES = (
    Case(
        "rkd-distance",
        RELATIONS,
        torchdistill=Torchdistill("RKDLoss", told(lambda c: c("tap", "tap", 1.0, 0.0, "mean"))),
        published=_rkd("RkdDistance"),
    ),
    Case(
        "rkd-angle",
        RELATIONS,
        torchdistill=Torchdistill("RKDLoss", told(lambda c: c("tap", "tap", 0.0, 1.0, "mean"))),
        published=_rkd("RKdAngle"),
        most=512,
    ),
    Case(
        "pkt",
        RELATIONS,
        torchdistill=Torchdistill("PKTLoss", told(spoken)),
        published=_zoo("PKT", "PKT", on_pairs(lambda c: c())),
    ),
    Case(
        "similarity-preserving",
        RELATIONS,
        torchdistill=Torchdistill("SPKDLoss", told(lambda c: c("tap", "tap", "batchmean"))),
        published=_zoo("SP", "Similarity", on_pairs(lambda c: c().similarity_loss)),
    ),
    Case("in-batch-contrastive", RELATIONS),
)


CASES = (*LOGIT_CASES, *FEATURE_CASES, *RELATION_CASES)
