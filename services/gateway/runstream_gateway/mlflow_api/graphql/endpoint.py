"""The endpoint /graphql. Errors of single fields are told as texts beside the data, as in MLflow."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from graphql import ExecutionResult, GraphQLError, GraphQLObjectType, execute
from mlflow.exceptions import MlflowException

from runstream_gateway.mlflow_api.errors import invalid
from runstream_gateway.mlflow_api.graphql.documents import RefusedQueryError, UnparsableQueryError, prepared
from runstream_gateway.mlflow_api.graphql.resolvers import RESOLVERS, GraphReads, Visit
from runstream_gateway.mlflow_api.graphql.schema import SCHEMA, field_of
from runstream_gateway.mlflow_api.messages import read_object
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 1024
"""A query of the web UI has 2 KB; a filter in its variables may be long."""


def _attach() -> None:
    for (type_name, field_name), resolver in RESOLVERS.items():
        kind = SCHEMA.type_map[type_name]
        if not isinstance(kind, GraphQLObjectType):
            raise TypeError(f"{type_name} has no fields")
        kind.fields[field_name].resolve = resolver


_attach()


def routes(backends: Backends) -> list[Route]:
    """Routes of this area."""
    api = GraphQl(backends)
    return [
        Route("POST", "/graphql", api.answer, max_body_bytes=MAX_BODY_BYTES),
        Route("GET", "/graphql", api.answer, max_body_bytes=MAX_BODY_BYTES),
    ]


class GraphQl:
    """Executes queries."""

    def __init__(self, backends: Backends) -> None:
        self._reads = GraphReads(backends)

    async def answer(self, request: Request) -> Response:
        """Execute the query of the body: ``{query, variables, operationName}``."""
        query, variables, operation = _parts(await read_object(request))
        try:
            document = prepared(query)
        except UnparsableQueryError as error:
            # MLflow answers 500.
            raise invalid(f"The query could not be parsed: {error}") from error
        except RefusedQueryError as error:
            return json_reply({"data": None, "errors": error.messages})
        running = execute(
            SCHEMA,
            document,
            context_value=Visit(request, self._reads),
            variable_values=variables,
            operation_name=operation,
            field_resolver=field_of,
        )
        result = running if isinstance(running, ExecutionResult) else await running
        errors = [_told(error) for error in result.errors or ()]
        return json_reply({"data": result.data, "errors": errors or None})


def _parts(body: dict[str, Any]) -> tuple[str, dict[str, Any] | None, str | None]:
    query, variables, operation = body.get("query"), body.get("variables"), body.get("operationName")
    if not isinstance(query, str):
        raise invalid("Missing value for required parameter 'query': it must be a GraphQL document.")
    if variables is not None and not isinstance(variables, dict):
        raise invalid("Invalid value for parameter 'variables' supplied: it must be an object.")
    if operation is not None and not isinstance(operation, str):
        raise invalid("Invalid value for parameter 'operationName' supplied: it must be a text.")
    return query, variables, operation


def _told(error: GraphQLError) -> str:
    cause = error.original_error
    if cause is None or isinstance(cause, (GraphQLError, MlflowException)):
        return error.message
    _log.error("a field of a query failed", exc_info=cause)
    return "The server could not answer this part of the query; its log says why."
