"""Teachers: who can be asked, what is checked first, and the store that remembers the answers.

A new kind of teacher is one file with a frozen dataclass, which opens it, and one name in `TEACHERS`.
"""

from limbeck.teachers.answers_file import AnswersTeacher
from limbeck.teachers.audience import Audience, TeacherSpec
from limbeck.teachers.calibration import (
    Calibration,
    calibrate,
    doubts,
    halves,
    suggested_temperatures,
    where_doubts_reach,
)
from limbeck.teachers.class_order import Exchange, exchanged
from limbeck.teachers.encoding import TAP, Encoding, Labels, spread
from limbeck.teachers.endpoint import EndpointTeacher, RemoteTeacher
from limbeck.teachers.ensemble import Ensemble, EnsembleTeacher, check_members
from limbeck.teachers.estimator import EstimatorTeacher, SklearnTeacher
from limbeck.teachers.function import CallableTeacher
from limbeck.teachers.given import teacher_of
from limbeck.teachers.gives import Gives, Logits, Probabilities, Votes
from limbeck.teachers.huggingface import HubTeacher
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.onnx_file import OnnxTeacher, SessionTeacher
from limbeck.teachers.picked import Picked, bare
from limbeck.teachers.precision import set_precision, settle_precision
from limbeck.teachers.preflight import ASKED, Asked, ask_some, look_at_answers, looks_like
from limbeck.teachers.program import ProgramTeacher
from limbeck.teachers.saved import SavedModel, SavedTeacher, load_model, save_model
from limbeck.teachers.shards import Mapped
from limbeck.teachers.signals import Live, Signals, Stored, encoded
from limbeck.teachers.speed import Pace
from limbeck.teachers.store import LabelStore, StoreState, directory_of, label, read_answers, state_of
from limbeck.teachers.table import TableTeacher
from limbeck.teachers.teacher import BATCH_SIZE, Teacher, ask, ask_all, evenly
from limbeck.teachers.timm_model import TimmTeacher
from limbeck.teachers.weights import WeightsTeacher

TEACHERS: dict[str, type[TeacherSpec]] = {
    "saved": SavedTeacher,
    "onnx": OnnxTeacher,
    "program": ProgramTeacher,
    "weights": WeightsTeacher,
    "sklearn": SklearnTeacher,
    "table": AnswersTeacher,
    "endpoint": EndpointTeacher,
    "timm": TimmTeacher,
    "huggingface": HubTeacher,
}
"""Name in a recipe -> the class that is both the setting and what opens the teacher."""

__all__ = [
    "ASKED",
    "BATCH_SIZE",
    "TAP",
    "TEACHERS",
    "AnswersTeacher",
    "Asked",
    "Audience",
    "Calibration",
    "CallableTeacher",
    "Encoding",
    "EndpointTeacher",
    "Ensemble",
    "EnsembleTeacher",
    "EstimatorTeacher",
    "Exchange",
    "Gives",
    "HubTeacher",
    "LabelStore",
    "Labels",
    "Live",
    "Logits",
    "Mapped",
    "ModuleTeacher",
    "OnnxTeacher",
    "Pace",
    "Picked",
    "Probabilities",
    "ProgramTeacher",
    "RemoteTeacher",
    "SavedModel",
    "SavedTeacher",
    "SessionTeacher",
    "Signals",
    "SklearnTeacher",
    "StoreState",
    "Stored",
    "TableTeacher",
    "Teacher",
    "TeacherSpec",
    "TimmTeacher",
    "Votes",
    "WeightsTeacher",
    "ask",
    "ask_all",
    "ask_some",
    "bare",
    "calibrate",
    "check_members",
    "directory_of",
    "doubts",
    "encoded",
    "evenly",
    "exchanged",
    "halves",
    "label",
    "load_model",
    "look_at_answers",
    "looks_like",
    "read_answers",
    "save_model",
    "set_precision",
    "settle_precision",
    "spread",
    "state_of",
    "suggested_temperatures",
    "teacher_of",
    "where_doubts_reach",
]
