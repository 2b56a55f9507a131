"""Networks in files: looked at with suspicion, then run, by ONNX Runtime or by torch's own operators."""

from limbeck.runtime.onnx_model import read_model
from limbeck.runtime.program import Program, read_program
from limbeck.runtime.session import Session

__all__ = ["Program", "Session", "read_model", "read_program"]
