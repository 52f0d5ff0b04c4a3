"""MLflow's endpoints from its own descriptors, and requests for them that are right, wrong, or both in one."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from mlflow.protos import databricks_pb2, mlflow_artifacts_pb2, model_registry_pb2, service_pb2, webhooks_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests
    from google.protobuf.descriptor import Descriptor

EXAMPLES = int(os.environ.get("RUNSTREAM_TEST_FUZZ_EXAMPLES", "10"))
"""For each endpoint; more find more and take longer."""

FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    # Without shrinking: a failure is to be told soon, and what was made meanwhile would mislead it.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)

_MODULES = (service_pb2, model_registry_pb2, mlflow_artifacts_pb2, webhooks_pb2)
_INTEGERS = {
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
}
_DOUBLES = {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}


@dataclass(frozen=True)
class Endpoint:
    """One method and path of MLflow's API.

    Args:
        method: HTTP method.
        path: below ``/api``; parameters as ``{name}``.
        descriptor: of the request's message.
    """

    method: str
    path: str
    descriptor: Descriptor

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def endpoints() -> list[Endpoint]:
    """Every endpoint that MLflow's messages declare, once."""
    found: dict[tuple[str, str], Endpoint] = {}
    for module in _MODULES:
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                for declared in method.GetOptions().Extensions[databricks_pb2.rpc].endpoints:
                    path = declared.path.replace("<path:artifact_path>", "{artifact_path}")
                    path = f"/api/{declared.since.major}.0{path}"
                    found[declared.method, path] = Endpoint(declared.method, path, method.input_type)
    return list(found.values())


@dataclass(frozen=True)
class Request:
    """A request as it is sent.

    Args:
        method: HTTP method.
        path: with query.
        headers: of the request.
        body: bytes, or None for none.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None

    def send(self, session: requests.Session, base_url: str) -> requests.Response:
        """Send it."""
        return session.request(
            self.method, base_url + self.path, headers=dict(self.headers), data=self.body, timeout=60
        )


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


ODD_TEXTS = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\ud800",
        "\u202e",
        "é" * 300,
        "x" * 70_000,
        "../..",
        "a/b",
        "a//b",
        "%2e%2e",
        "'",
        '"',
    ),
    *(
        "`",
        "%",
        "null",
        "NaN",
        "-1",
        "1e999",
        "9" * 30,
        "٣",
        "metrics.a > 1",
        "' OR 1=1 --",
        "\n",
        "{",
        "-0",
        "True",
    ),
)
ODD_NUMBERS = (
    *(0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**40, 0.5, -0.0, 1e308, 1e-320),
    *(math.inf, -math.inf, math.nan),
)
WRONG: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(ODD_TEXTS),
    st.sampled_from(ODD_NUMBERS),
    st.none(),
    st.booleans(),
    st.text(max_size=20),
    st.sampled_from(
        [[], {}, [None], [[]], [{}], {"": None}, {"key": 1}, ["a", 1, None], _nested(50), _nested(500)]
    ),
    st.lists(st.one_of(st.none(), st.text(max_size=3), st.integers()), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def requests_for(endpoint: Endpoint, known: Mapping[str, list[Any]]) -> st.SearchStrategy[Request]:
    """Requests for an endpoint: most fields right, some absent, some wrong; now and then a body that is no object.

    Args:
        endpoint: what is called.
        known: values that exist in the server, by field name, so that requests get far.
    """
    fields = st.fixed_dictionaries(
        {}, optional={field.name: _field(field, known, 0) for field in endpoint.descriptor.fields}
    )
    return st.builds(_request, st.just(endpoint), fields, _path_values(endpoint, known), _bodies())


UNDECLARED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", ("run_id", "metric_key", "max_results")),
    ("POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", ("experiment_ids",)),
    ("GET", "/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files", ("artifact_file_path",)),
    ("GET", "/get-artifact", ("run_id", "run_uuid", "path")),
    ("GET", "/model-versions/get-artifact", ("name", "version", "path")),
    ("POST", "/ajax-api/2.0/mlflow/upload-artifact", ("run_uuid", "path")),
    ("POST", "/graphql", ("operationName", "query", "variables")),
)
"""Method, path and parameters of endpoints that no message declares: the web UI's own."""


def undeclared_requests(
    method: str, path: str, names: tuple[str, ...], known: Mapping[str, list[Any]]
) -> st.SearchStrategy[Request]:
    """Requests for an endpoint of `UNDECLARED`, with parameters in the query and, but for GET, in the body."""
    values = {name: st.one_of(st.sampled_from(known.get(name, ["a"])), WRONG) for name in names}
    fields = st.fixed_dictionaries({}, optional=values)
    model_ids = st.sampled_from([*known.get("model_id", ["x"]), "x", "%2e%2e", "%00"])

    def build(
        query: dict[str, Any], body: dict[str, Any], own: tuple[str, bytes] | None, model_id: str
    ) -> Request:
        target = path.replace("{model_id}", model_id) + _query(query)
        if method == "GET":
            return Request(method, target, {}, None)
        content_type, content = own or ("application/json", json.dumps(body).encode())
        return Request(method, target, {"Content-Type": content_type} if content_type else {}, content)

    return st.builds(build, fields, fields, _bodies(), model_ids)


def _field(field: FieldDescriptor, known: Mapping[str, list[Any]], depth: int) -> st.SearchStrategy[Any]:
    right = _right(field, known, depth)
    if field.is_repeated:
        right = st.lists(st.one_of(right, right, right, WRONG), max_size=3)
    return st.one_of(right, right, right, WRONG)


def _right(field: FieldDescriptor, known: Mapping[str, list[Any]], depth: int) -> st.SearchStrategy[Any]:
    if field.name in known:
        return st.sampled_from(known[field.name])
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if depth > 2:
            return st.just({})
        inner = {f.name: _field(f, known, depth + 1) for f in field.message_type.fields}
        return st.fixed_dictionaries({}, optional=inner)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return st.sampled_from([value.name for value in field.enum_type.values])
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type in _INTEGERS:
        return st.one_of(st.integers(0, 1000), st.integers(0, 2**62))
    if field.type in _DOUBLES:
        return st.floats(allow_nan=False)
    return st.one_of(st.sampled_from(["a", "b"]), st.sampled_from(ODD_TEXTS), st.text(max_size=10))


def _path_values(endpoint: Endpoint, known: Mapping[str, list[Any]]) -> st.SearchStrategy[dict[str, str]]:
    names = [part.split("}")[0] for part in endpoint.path.split("{")[1:]]
    return st.fixed_dictionaries(
        {
            name: st.one_of(
                st.sampled_from(known.get(name, ["x"])),
                st.sampled_from([text for text in ODD_TEXTS if len(text) < 1000 and text != "\ud800"]),
            )
            for name in names
        }
    )


def _bodies() -> st.SearchStrategy[tuple[str, bytes] | None]:
    """None for the fields; else a content type and a body of its own."""
    odd = [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b'"{}"',
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"a":1,"a":2}',
        b'{"": 1}',
    ]
    types = [
        "application/json",
        "application/json; charset=utf-8",
        "text/plain",
        "",
        "application/x-protobuf",
    ]
    own = st.tuples(st.sampled_from(types), st.sampled_from(odd))
    return st.one_of(*[st.none()] * 6, own)


def _request(
    endpoint: Endpoint, fields: dict[str, Any], path_values: dict[str, str], own: tuple[str, bytes] | None
) -> Request:
    path = endpoint.path
    for name, value in path_values.items():
        path = path.replace(
            f"{{{name}}}", quote(str(value), safe="" if name != "artifact_path" else "/") or "-"
        )
    if endpoint.method == "GET":
        return Request("GET", path + _query(fields), {}, None)
    content_type, body = own or ("application/json", json.dumps(fields).encode())
    return Request(endpoint.method, path, {"Content-Type": content_type} if content_type else {}, body)


def _query(fields: dict[str, Any]) -> str:
    pairs = []
    for name, value in fields.items():
        for item in value if isinstance(value, list) and value else [value]:
            text = item if isinstance(item, str) else json.dumps(item)
            pairs.append(f"{quote(name)}={quote(text[:20_000], errors='replace')}")
    return "?" + "&".join(pairs) if pairs else ""


def fault(answer: requests.Response) -> str | None:
    """What is wrong with an answer; None when it is one that a client can work with."""
    if answer.status_code >= 500 and answer.status_code != 501:
        return f"status {answer.status_code}"
    if answer.status_code < 400:
        return None
    try:
        body = answer.json()
    except ValueError:
        return f"status {answer.status_code} without JSON"
    if not (
        isinstance(body, dict) and isinstance(body.get("error_code"), str) and body.get("message") is not None
    ):
        return f"status {answer.status_code} without error_code and message"
    return None
