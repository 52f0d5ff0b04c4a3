"""The OpenAPI 3.1 document of our own API, made from its operations and their types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runstream_gateway import __version__
from runstream_gateway.actors import ACTOR_HEADER
from runstream_gateway.control.event_streams import Missed
from runstream_gateway.control.values import Nothing
from runstream_gateway.control_api.operations import PREFIX
from runstream_gateway.control_api.problems import PROBLEM_JSON, Problem
from runstream_gateway.replies import JSON

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runstream_gateway.control_api.operations import Operation

OPENAPI_VERSION: Final = "3.1.0"

_DESCRIPTION: Final = """\
What MLflow's API has no words for: policies that gate promotions, dry runs, approvals, the audit trail, lineage, events, \
dead letters and the state of the services. Lists come in pages: give `next_page_token` of an answer as `page_token`, with \
the same other parameters, until it is empty. Refusals are problem details (RFC 9457). Who asks is asserted, not proven: \
by the header `X-Runstream-Actor` or by the user name of HTTP Basic; what changes something is refused without."""

_ACTOR: Final = {
    "name": ACTOR_HEADER.title(),
    "in": "header",
    "required": True,
    "description": "Who asks, percent-encoded where it is not ASCII; not needed with HTTP Basic",
    "schema": {"type": "string", "minLength": 1},
}


def openapi_document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document."""
    schemas = _Schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = schemas.described(operation)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": "Runstream", "version": __version__, "description": _DESCRIPTION},
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {"schemas": schemas.components},
    }


class _Schemas:
    """JSON schemas of the operations' types, and operations described with them."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        types = dict.fromkeys(
            kind for item in operations for kind in (item.body, item.answer) if kind not in {None, Nothing}
        )
        kinds = [*types, Missed, Problem]
        references, self.components = msgspec.json.schema_components(
            kinds, ref_template="#/components/schemas/{name}"
        )
        self._references = dict(zip(kinds, references, strict=True))

    def described(self, operation: Operation) -> dict[str, Any]:
        """The operation object."""
        described: dict[str, Any] = {
            "operationId": operation.name,
            "summary": operation.summary,
            "tags": [operation.tag],
            "parameters": [
                *_parameters(operation.at, "path"),
                *_parameters(operation.query, "query"),
                *([_ACTOR] if operation.changes else []),
            ],
            "responses": {
                str(operation.status): self._success(operation),
                "default": {"description": "Refused", "content": self._content(Problem, PROBLEM_JSON)},
            },
        }
        if operation.description:
            described["description"] = operation.description
        if operation.body is not Nothing:
            described["requestBody"] = {"required": True, "content": self._content(operation.body, JSON)}
        return described

    def _success(self, operation: Operation) -> dict[str, Any]:
        if operation.answer is None:
            return {"description": "Done"}
        if operation.stream:
            return {
                "description": "A stream",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            }
        return {"description": "Done", "content": self._content(operation.answer, JSON)}

    def _content(self, kind: type, media_type: str) -> dict[str, Any]:
        return {media_type: {"schema": self._references[kind]}}


def _parameters(kind: type, place: str) -> list[dict[str, Any]]:
    (_,), components = msgspec.json.schema_components([kind])
    schema = components[kind.__name__]
    required = set(schema.get("required", ()))
    return [_parameter(name, value, place, name in required) for name, value in schema["properties"].items()]


def _parameter(name: str, schema: dict[str, Any], place: str, required: bool) -> dict[str, Any]:
    parameter: dict[str, Any] = {"name": name, "in": place, "required": required, "schema": schema}
    description = schema.pop("description", "")
    if description:
        parameter["description"] = description
    return parameter


def parameter_names(path: str) -> list[str]:
    """Names of a path's parameters, in their order."""
    return re.findall(r"\{(\w+)\}", path)
