"""What tests of resuming share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registrations import rolled_back


@pytest.fixture(autouse=True)
def plugins() -> Iterator[None]:
    """The tests' plugin is there during the test only."""
    with rolled_back(Path(__file__).parents[1] / "probes"):
        yield
