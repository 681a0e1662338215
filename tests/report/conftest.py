"""What all tests of reports are about: three targets of a photo, and a contrast."""

from __future__ import annotations

import pytest

from reports import Page, drawn


@pytest.fixture
def explanation():
    """Return three targets of one photo."""
    return drawn((0, 1, 2))


@pytest.fixture
def contrast():
    """Return why it is the first and not the second, of the same photo."""
    return drawn((0,), against=(1,), seed=1)


@pytest.fixture
def read():
    """Return what reads a page."""
    return Page
