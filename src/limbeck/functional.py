"""The objectives as plain functions, for people who keep their own loop.

    loss = limbeck.functional.kd(student_logits, teacher_logits, temperature=4).mean()

Each gives one value per example, in float32 at least, with every factor of its own (T^2 and so on) and no division
by the batch. The teacher's values are constants: no gradient reaches them. Cross-entropy is torch's own, with the
labels or, as hard targets, with the teacher's first choice: torch.nn.functional.cross_entropy, reduction="none".

Take first derivatives alone, by backward or torch.autograd.grad. Some gradients are written out in closed form: they
have no derivative of their own, and torch.func's transforms (grad, vmap, jvp) do not pass them.
"""

from limbeck.objectives.features.attention_transfer import attention_transfer
from limbeck.objectives.features.channel_wise import channel_wise
from limbeck.objectives.features.feature import feature
from limbeck.objectives.features.hcl import hcl
from limbeck.objectives.features.hint import hint
from limbeck.objectives.features.vid import vid
from limbeck.objectives.logits.bernoulli_targets import bernoulli_kd
from limbeck.objectives.logits.binary_cross_entropy import binary_cross_entropy
from limbeck.objectives.logits.dist import dist
from limbeck.objectives.logits.dkd import dkd
from limbeck.objectives.logits.logit_mse import logit_mse
from limbeck.objectives.logits.nkd import nkd
from limbeck.objectives.logits.soft_targets import jsd, kd, reverse_kl, total_variation
from limbeck.objectives.logits.ttm import ttm
from limbeck.objectives.relations.in_batch_contrastive import in_batch_contrastive
from limbeck.objectives.relations.pkt import pkt
from limbeck.objectives.relations.rkd_angle import rkd_angle
from limbeck.objectives.relations.rkd_distance import rkd_distance
from limbeck.objectives.relations.similarity_preserving import similarity_preserving
from limbeck.objectives.standardised import standardised

__all__ = [
    "attention_transfer",
    "bernoulli_kd",
    "binary_cross_entropy",
    "channel_wise",
    "dist",
    "dkd",
    "feature",
    "hcl",
    "hint",
    "in_batch_contrastive",
    "jsd",
    "kd",
    "logit_mse",
    "nkd",
    "pkt",
    "reverse_kl",
    "rkd_angle",
    "rkd_distance",
    "similarity_preserving",
    "standardised",
    "total_variation",
    "ttm",
    "vid",
]
