"""An ONNX file as teacher.

Dimension key: N examples, C classes.
"""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Literal

import torch
from torch import Tensor

from limbeck.data import AnyPreprocess, Examples, Preprocess
from limbeck.files import describe, path_of
from limbeck.runtime import Session, read_model
from limbeck.runtime.onnx_outputs import parameters_of, without_dictionaries
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
        path = path_of(self.path, f"{audience.key}.path")
        model = read_model(path)
        named = without_dictionaries(model, self.output)
        threads = torch.get_num_threads()
        session = Session(path, threads=threads, output=self.output, data=model.SerializeToString())
        preprocess = self.preprocess or audience.preprocess
        session.check_shape(tuple(preprocess(audience.examples.inputs[:1]).shape[1:]))
        gives = Probabilities() if self.gives == "probabilities" else Logits()
        teacher = SessionTeacher(session, preprocess, gives, describe(path)["sha256"], parameters_of(model))
        own = self.classes or named
        return answering(teacher, own, audience.classes, f"the teacher in {self.path}")


class SessionTeacher:
    """What ONNX Runtime answers; it shows no parts to tap.

    Args:
        session: of the file.
        preprocess: what it is shown.
        gives: what its numbers are.
        sha256: of the file.
        size: the numbers among its constants that were learnt; trees keep theirs elsewhere.
    """

    def __init__(
        self, session: Session, preprocess: AnyPreprocess, gives: Gives, sha256: str, size: int | None
    ) -> None:
        self.session, self.preprocess, self.gives, self.sha256, self.size = session, preprocess, gives, sha256, size

    def identity(self) -> dict[str, Any]:
        """The file, the output, preprocessing, and the runtime, which decides the last bits."""
        return {
            "kind": "onnx",
            "sha256": self.sha256,
            "output": self.session.output,
            "preprocess": asdict(self.preprocess),
            "onnxruntime": version("onnxruntime"),
        }

    def answer(self, inputs: Tensor, keys: Tensor) -> Signal:
        """See `Teacher.answer`."""
        return Signal(torch.from_numpy(self.session(self.preprocess(inputs).cpu().numpy())))

    def knows(self, examples: Examples) -> bool:
        """See `Teacher.knows`."""
        return True

    within: tuple[Teacher, ...] = ()
