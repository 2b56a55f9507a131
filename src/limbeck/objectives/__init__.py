"""Objectives: functions of (student output, signal, label) that return one value per example.

A new objective is one file with a frozen dataclass and one name in `CATALOGUE`; CONTRIBUTING.md shows how.
"""

from limbeck.objectives.base import LogitObjective, Objective, TapObjective, Traits
from limbeck.objectives.features.attention_transfer import AttentionTransfer
from limbeck.objectives.features.channel_wise import ChannelWise
from limbeck.objectives.features.feature import Feature
from limbeck.objectives.features.hcl import HCL
from limbeck.objectives.features.hint import Hint
from limbeck.objectives.features.vid import VID
from limbeck.objectives.logits.bernoulli_targets import BernoulliTargets
from limbeck.objectives.logits.binary_cross_entropy import BinaryCrossEntropy
from limbeck.objectives.logits.cross_entropy import CrossEntropy
from limbeck.objectives.logits.dist import DIST
from limbeck.objectives.logits.dkd import DKD
from limbeck.objectives.logits.hard_targets import HardTargets
from limbeck.objectives.logits.logit_mse import LogitMSE
from limbeck.objectives.logits.nkd import NKD
from limbeck.objectives.logits.soft_targets import SoftTargets
from limbeck.objectives.logits.ttm import TTM
from limbeck.objectives.relations.in_batch_contrastive import InBatchContrastive
from limbeck.objectives.relations.pkt import PKT
from limbeck.objectives.relations.rkd_angle import RKDAngle
from limbeck.objectives.relations.rkd_distance import RKDDistance
from limbeck.objectives.relations.similarity_preserving import SimilarityPreserving
from limbeck.signal import UNLABELLED

CATALOGUE: dict[str, type[Objective]] = {
    "cross-entropy": CrossEntropy,
    "binary-cross-entropy": BinaryCrossEntropy,
    "soft-targets": SoftTargets,
    "hard-targets": HardTargets,
    "bernoulli-targets": BernoulliTargets,
    "dkd": DKD,
    "dist": DIST,
    "nkd": NKD,
    "ttm": TTM,
    "logit-mse": LogitMSE,
    "hint": Hint,
    "feature": Feature,
    "attention-transfer": AttentionTransfer,
    "vid": VID,
    "channel-wise": ChannelWise,
    "hcl": HCL,
    "rkd-distance": RKDDistance,
    "rkd-angle": RKDAngle,
    "pkt": PKT,
    "similarity-preserving": SimilarityPreserving,
    "in-batch-contrastive": InBatchContrastive,
}
"""Name in a recipe -> the class that is both the setting and the function."""

__all__ = [
    "CATALOGUE",
    "DIST",
    "DKD",
    "HCL",
    "NKD",
    "PKT",
    "TTM",
    "UNLABELLED",
    "VID",
    "AttentionTransfer",
    "BernoulliTargets",
    "BinaryCrossEntropy",
    "ChannelWise",
    "CrossEntropy",
    "Feature",
    "HardTargets",
    "Hint",
    "InBatchContrastive",
    "LogitMSE",
    "LogitObjective",
    "Objective",
    "RKDAngle",
    "RKDDistance",
    "SimilarityPreserving",
    "SoftTargets",
    "TapObjective",
    "Traits",
]
