"""Fixtures for our own API."""

from __future__ import annotations

import pytest

from services.gateway.tests.control.support import Api, add_model, unique
from tests.support.service_stack import ServiceStack


@pytest.fixture
def api(gateway_url: str) -> Api:
    """Our own API, called as ada."""
    return Api(gateway_url)


@pytest.fixture
def model(mlflow_stack: ServiceStack) -> str:
    """A model of this test alone with two versions that have the tag reviewed=yes."""
    name = unique("model")
    add_model(mlflow_stack, name, tags={"reviewed": "yes"})
    return name
