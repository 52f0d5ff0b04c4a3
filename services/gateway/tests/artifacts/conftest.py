"""Runs with files."""

from __future__ import annotations

import pytest

from services.gateway.tests.artifacts.support import Run, new_run


@pytest.fixture
def run(gateway_url: str) -> Run:
    """A run on embedded defaults."""
    return new_run(gateway_url)
