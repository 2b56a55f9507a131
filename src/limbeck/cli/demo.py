"""`limbeck demo`: later."""


def demo() -> None:
    """The whole story on real handwritten digits."""
