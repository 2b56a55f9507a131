"""A program of torch.export as teacher."""

from dataclasses import dataclass
from typing import Literal

from limbeck.data import Preprocess
from limbeck.files import path_of
from limbeck.runtime.program import read_program
from limbeck.teachers.audience import Audience
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.picked import answering
from limbeck.teachers.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class ProgramTeacher:
    """A network that torch.export.save wrote, with its graph: no code of its own is needed.

    Args:
        path: the file, `.pt2`.
        preprocess: what the network takes; null is what the source declares.
        classes: the names of its outputs, in its order; null is the data's.
    """

    kind: Literal["program"] = "program"
    path: str
    preprocess: Preprocess | None = None
    classes: tuple[str, ...] | None = None

    def open(self, audience: Audience) -> Teacher:
        """See `TeacherSpec.open`."""
        audience.refuse_taps(f"the program {self.path}")
        program = read_program(path_of(self.path, f"{audience.key}.path"))
        preprocess = self.preprocess or audience.preprocess
        program.rehearse(tuple(preprocess(audience.examples.inputs[:1]).shape[1:]))
        teacher = ModuleTeacher(program.eval(), preprocess, audience.device)
        return answering(teacher, self.classes, audience.classes, f"the teacher in {self.path}")
