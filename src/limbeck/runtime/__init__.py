"""ONNX Runtime: a file is looked at with suspicion, then answers batches, here as a teacher."""

from limbeck.runtime.model import read_model
from limbeck.runtime.session import Session

__all__ = ["Session", "read_model"]
