"""Answers of a delivered student about files, with onnxruntime and numpy alone."""

from limbeck.prediction.finding import load_bundle
from limbeck.prediction.predictor import Predictor, choices
from limbeck.prediction.reader import Reader

__all__ = ["Predictor", "Reader", "choices", "load_bundle"]
