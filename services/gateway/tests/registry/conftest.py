"""Fixtures of the registry's endpoints."""

import pytest

from services.gateway.tests.registry.support import Api


@pytest.fixture
def api(gateway_url: str) -> Api:
    """The gateway, with names that are this test's own."""
    return Api(gateway_url)
