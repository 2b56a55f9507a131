"""Export: a student of a run made into bundles, each held to the student before it is delivered."""

from limbeck.export.exporting import Delivered, Outcome, export
from limbeck.export.formats import FORMATS, formats_of
from limbeck.export.gate import Gate, tolerance

__all__ = ["FORMATS", "Delivered", "Gate", "Outcome", "export", "formats_of", "tolerance"]
