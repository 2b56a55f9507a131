"""The examination of a recipe before its run: what was found, and what the run will take. It changes nothing."""

from limbeck.examination.examine import Examination, examine
from limbeck.examination.finding import Finding, Severity

__all__ = ["Examination", "Finding", "Severity", "examine"]
