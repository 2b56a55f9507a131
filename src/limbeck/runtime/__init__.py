"""Networks in files: looked at with suspicion, then run, by ONNX Runtime or by torch's own operators.

Only what runs a program of torch needs torch; it lies in `limbeck.runtime.program`.
"""

from limbeck.runtime.onnx_model import read_model
from limbeck.runtime.runner import Runner, runner
from limbeck.runtime.session import Session

__all__ = ["Runner", "Session", "read_model", "runner"]
