"""How results are printed."""

import json
from typing import Any


def print_json(value: Any) -> None:
    """JSON on stdout."""
    print(json.dumps(value, indent=1, ensure_ascii=False))
