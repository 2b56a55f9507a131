import pytest

from limbeck.progress import Stop, unwatched
from limbeck.teachers import label


@pytest.fixture
def open_store(tmp_path):
    """`label` under one directory, unwatched."""

    def opened(who, examples, *, watch=unwatched, stop=None):
        return label(tmp_path / "labels", who, examples, watch=watch, stop=Stop() if stop is None else stop)

    return opened
