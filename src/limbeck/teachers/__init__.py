"""Teachers: who can be asked, what is checked first, and the store that remembers the answers."""

from limbeck.teachers.ensemble import Ensemble, EnsembleTeacher, check_members
from limbeck.teachers.kinds import CallableTeacher, ModuleTeacher, TableTeacher, teacher_of
from limbeck.teachers.preflight import preflight
from limbeck.teachers.saved import SavedModel, load_model, save_model
from limbeck.teachers.signals import Live, Signals, Stored
from limbeck.teachers.store import LabelStore, label, read_answers
from limbeck.teachers.teacher import Teacher, ask_all

__all__ = [
    "CallableTeacher",
    "Ensemble",
    "EnsembleTeacher",
    "LabelStore",
    "Live",
    "ModuleTeacher",
    "SavedModel",
    "Signals",
    "Stored",
    "TableTeacher",
    "Teacher",
    "ask_all",
    "check_members",
    "label",
    "load_model",
    "preflight",
    "read_answers",
    "save_model",
    "teacher_of",
]
