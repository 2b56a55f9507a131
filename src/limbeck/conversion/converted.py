"""What every conversion gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Converted:
    """A network as the bytes of one file, which was run beside the network before it came here.

    Args:
        data: the file.
        facts: JSON: `batch` ("dynamic", or the one size that it takes), `why_not_dynamic`, `difference` (the
            largest of its logits from the network's, in shares of their range), `seconds`, and what the format has
            besides.
    """

    data: bytes
    facts: Mapping[str, Any]
