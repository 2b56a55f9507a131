"""Training: the step, the fit around it, and the arms of a comparison."""

from limbeck.training.arms import DEAF, USUAL_ALPHA, ArmName, Auto, Distill, WeightedTerm, lesson_of
from limbeck.training.checkpoint import KEPT
from limbeck.training.fit import Rungs, check_parts, configured, fit, gradient_norms
from limbeck.training.learner import Learner, learner_of
from limbeck.training.lesson import Lesson
from limbeck.training.loss import Batch, Counts, Term, TermSchedule
from limbeck.training.place import Place
from limbeck.training.schedules import HalfCosine, Linear, Points, Schedule
from limbeck.training.settings import SGD, AdamW, Constant, Cosine, Fit, OneCycle
from limbeck.training.step import add_gradients, train_step
from limbeck.training.step_cost import StepCost, step_cost_of
from limbeck.training.world import World, join_world

__all__ = [
    "DEAF",
    "KEPT",
    "SGD",
    "USUAL_ALPHA",
    "AdamW",
    "ArmName",
    "Auto",
    "Batch",
    "Constant",
    "Cosine",
    "Counts",
    "Distill",
    "Fit",
    "HalfCosine",
    "Learner",
    "Lesson",
    "Linear",
    "OneCycle",
    "Place",
    "Points",
    "Rungs",
    "Schedule",
    "StepCost",
    "Term",
    "TermSchedule",
    "WeightedTerm",
    "World",
    "add_gradients",
    "check_parts",
    "configured",
    "fit",
    "gradient_norms",
    "join_world",
    "learner_of",
    "lesson_of",
    "step_cost_of",
    "train_step",
]
