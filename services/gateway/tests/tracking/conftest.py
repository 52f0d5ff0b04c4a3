"""Fixtures of the endpoints of experiments, runs and logged models."""

import pytest

from services.gateway.tests.tracking.support import Rest


@pytest.fixture
def rest(gateway_url: str) -> Rest:
    """The gateway."""
    return Rest(gateway_url)
