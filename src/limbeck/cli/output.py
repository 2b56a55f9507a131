"""How results are printed."""

import json
import unicodedata
from typing import Any


def print_json(value: Any) -> None:
    """JSON on stdout; half a surrogate, as names of files may have, is written as JSON escapes it."""
    print(json.dumps(value, indent=1, ensure_ascii=False).encode(errors="backslashreplace").decode())


def on_one_line(text: str) -> str:
    """A text without letters that end a line or steer a terminal: these are written as Python escapes them."""
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") else letter
        for letter in text
    )
