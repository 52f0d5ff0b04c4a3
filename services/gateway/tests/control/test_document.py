"""Requests made from the OpenAPI document: whatever comes, answers are as the document says and never a 500."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from unittest.mock import MagicMock

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from runstream_gateway.control.values import Nothing
from runstream_gateway.control_api.doors import control_operations
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from services.gateway.tests.control.support import Api

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runstream_gateway.control_api.operations import Operation
    from schemathesis.generation.case import Case

DOCUMENT = "/api/runstream/v1/openapi.json"
EXAMPLES = 10
"""For each operation and mode; all of it takes seconds."""

ALWAYS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]
OPERATIONS = control_operations(MagicMock(), MagicMock())
"""Only their names and types are looked at here."""


def _takes_something(operation: Operation) -> bool:
    return any(kind is not Nothing for kind in (operation.at, operation.query, operation.body))


@pytest.fixture
def nobodys_policies(api: Api) -> Iterator[None]:
    """Takes policies out of force that made up requests have stored, before they gate other tests."""
    before = {policy["name"] for policy in api.get("/policies")["policies"]}
    yield
    for policy in api.get("/policies")["policies"]:
        if policy["name"] not in before:
            api.call("DELETE", f"/policies/{policy['name']}").raise_for_status()


@pytest.mark.usefixtures("nobodys_policies")
@pytest.mark.parametrize("name", [item.name for item in OPERATIONS if not item.stream])
def test_what_the_document_allows_is_answered_as_it_says(gateway_url: str, name: str) -> None:
    _try(gateway_url, name, GenerationMode.POSITIVE, ALWAYS)


@pytest.mark.usefixtures("nobodys_policies")
@pytest.mark.parametrize("name", [item.name for item in OPERATIONS if _takes_something(item)])
def test_what_the_document_forbids_is_refused_as_it_says(gateway_url: str, name: str) -> None:
    _try(gateway_url, name, GenerationMode.NEGATIVE, [*ALWAYS, "negative_data_rejection"])


def _try(gateway_url: str, name: str, mode: GenerationMode, checks: list[str]) -> None:
    operation = schemathesis.openapi.from_url(gateway_url + DOCUMENT).find_operation_by_id(name)
    applied = CHECKS.get_by_names(checks)

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.explicit, Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def answered(case: Case) -> None:
        answer = case.call(base_url=gateway_url, timeout=60)
        # A line that is longer than the edge reads never reaches an operation.
        if answer.status_code != HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            case.validate_response(answer, checks=applied)

    answered()
