"""Fixtures for the console: somebody with a browser's cookies, and a deployment in which something happened."""

from __future__ import annotations

import pytest

from services.gateway.tests.console.support import Somebody, Story, happened
from tests.support.service_stack import ServiceStack


@pytest.fixture
def visitor(gateway_url: str) -> Somebody:
    """A visitor who has said no name yet."""
    return Somebody(gateway_url)


@pytest.fixture(scope="module")
def story(mlflow_stack: ServiceStack) -> Story:
    """A model with a policy, a promotion, a request that waits and dead letters; tests change nothing in it."""
    return happened(mlflow_stack)
