import pytest
import torch

from limbeck.progress import Stop, unwatched
from limbeck.teachers import label


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """A forked child has no other threads, whatever OpenMP believes."""
    torch.set_num_threads(1)


@pytest.fixture
def open_store(tmp_path):
    """`label` under one directory, unwatched."""

    def opened(who, examples, *, watch=unwatched, stop=None, **options):
        stop = Stop() if stop is None else stop
        return label(tmp_path / "labels", who, examples, watch=watch, stop=stop, **options)

    return opened
