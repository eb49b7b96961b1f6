"""Fixtures that every component's tests may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.livespan_home import LiveHome


@pytest.fixture
def live() -> Iterator[LiveHome]:
    """A home of this test alone; no collector yet."""
    home = LiveHome()
    try:
        yield home
    finally:
        home.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[LiveHome]:
    """A home for all tests of a module, with a collector in a thread; tests use run ids of their own."""
    home = LiveHome()
    try:
        home.serve()
        yield home
    finally:
        home.close()
