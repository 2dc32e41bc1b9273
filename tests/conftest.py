"""Settings for all tests."""

import os

import pytest
import torch
from hypothesis import settings

from tests.forked import start_server

# The first example pays for imports and for a busy machine: time is no property of the code.
settings.register_profile("framework", deadline=None)
settings.load_profile("framework")

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # every worker has one core


@pytest.fixture(scope="session")
def fork_server() -> None:
    """For tests that run studies in the process of pytest."""
    start_server()
