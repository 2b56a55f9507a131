import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """A forked child has no other threads, whatever OpenMP believes."""
    torch.set_num_threads(1)
