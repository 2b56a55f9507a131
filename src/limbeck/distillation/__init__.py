"""The Python doors: `limbeck.distill`, the whole story in one call, and in `searching` `limbeck.tune`.

The latter stands apart: what a search needs takes a second to import, which no other call must wait for.
"""

from limbeck.distillation.distilling import distill
from limbeck.distillation.result import Result, SearchResult

__all__ = ["Result", "SearchResult", "distill"]
