"""An ONNX file as teacher.

Dimension key: N examples, C classes.
"""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Literal

from torch import Tensor

from limbeck.data import AnyPreprocess, Examples, Preprocess
from limbeck.files import path_of
from limbeck.runtime import Session
from limbeck.signal import Signal
from limbeck.teachers.audience import Audience
from limbeck.teachers.gives import Gives, Logits, Probabilities
from limbeck.teachers.picked import answering
from limbeck.teachers.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class OnnxTeacher:
    """A network in an ONNX file, asked on the CPU.

    Args:
        path: the file.
        output: which of its outputs answers; null is the only one that can.
        preprocess: what the network takes; null is what the source declares.
        classes: the names of its outputs, in its order; null is what the file says, else the data's.
        gives: what its numbers are; null is logits, unless the preflight finds probabilities.
    """

    kind: Literal["onnx"] = "onnx"
    path: str
    output: str | None = None
    preprocess: Preprocess | None = None
    classes: tuple[str, ...] | None = None
    gives: Literal["logits", "probabilities"] | None = None

    def open(self, audience: Audience) -> Teacher:
        """See `TeacherSpec.open`."""
        audience.refuse_taps(f"the ONNX file {self.path}")
        session = Session(path_of(self.path, f"{audience.key}.path"), self.output)
        preprocess = self.preprocess or audience.preprocess
        session.check_shape(tuple(preprocess(audience.examples.inputs[:1]).shape[1:]))
        teacher = SessionTeacher(session, preprocess, Probabilities() if self.gives == "probabilities" else Logits())
        own = self.classes or session.classes
        return answering(teacher, own, audience.classes, f"the teacher in {self.path}")


class SessionTeacher:
    """What ONNX Runtime answers; it shows no parts to tap."""

    def __init__(self, session: Session, preprocess: AnyPreprocess, gives: Gives) -> None:
        self.session, self.preprocess, self.gives = session, preprocess, gives

    def identity(self) -> dict[str, Any]:
        """The file, the output, preprocessing, and the runtime, which decides the last bits."""
        return {
            "kind": "onnx",
            "sha256": self.session.sha256,
            "output": self.session.output,
            "preprocess": asdict(self.preprocess),
            "onnxruntime": version("onnxruntime"),
        }

    def answer(self, inputs: Tensor, keys: Tensor) -> Signal:
        """See `Teacher.answer`."""
        return Signal(self.session(self.preprocess(inputs)))

    def knows(self, examples: Examples) -> bool:
        """See `Teacher.knows`."""
        return True

    within: tuple[Teacher, ...] = ()

    @property
    def size(self) -> int | None:
        """See `Teacher.size`: the numbers among its constants; trees keep theirs elsewhere."""
        return self.session.parameters
