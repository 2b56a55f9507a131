"""Teachers: who can be asked, what is checked first, and the store that remembers the answers.

A new kind of teacher is one file with a frozen dataclass, which opens it, and one name in `TEACHERS`.
"""

from limbeck.teachers.audience import Audience, TeacherSpec
from limbeck.teachers.ensemble import Ensemble, EnsembleTeacher, check_members
from limbeck.teachers.function import CallableTeacher
from limbeck.teachers.given import teacher_of
from limbeck.teachers.gives import Gives, Logits, Probabilities, Votes
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.onnx_file import OnnxTeacher, SessionTeacher
from limbeck.teachers.picked import Picked
from limbeck.teachers.preflight import preflight
from limbeck.teachers.saved import SavedModel, SavedTeacher, load_model, save_model
from limbeck.teachers.signals import Live, Signals, Stored
from limbeck.teachers.store import LabelStore, label, read_answers
from limbeck.teachers.table import TableTeacher
from limbeck.teachers.teacher import Teacher, ask_all
from limbeck.teachers.weights import WeightsTeacher

TEACHERS: dict[str, type[TeacherSpec]] = {
    "saved": SavedTeacher,
    "onnx": OnnxTeacher,
    "weights": WeightsTeacher,
}
"""Name in a recipe -> the class that is both the setting and what opens the teacher."""

__all__ = [
    "TEACHERS",
    "Audience",
    "CallableTeacher",
    "Ensemble",
    "EnsembleTeacher",
    "Gives",
    "LabelStore",
    "Live",
    "Logits",
    "ModuleTeacher",
    "OnnxTeacher",
    "Picked",
    "Probabilities",
    "SavedModel",
    "SavedTeacher",
    "SessionTeacher",
    "Signals",
    "Stored",
    "TableTeacher",
    "Teacher",
    "TeacherSpec",
    "Votes",
    "WeightsTeacher",
    "ask_all",
    "check_members",
    "label",
    "load_model",
    "preflight",
    "read_answers",
    "save_model",
    "teacher_of",
]
