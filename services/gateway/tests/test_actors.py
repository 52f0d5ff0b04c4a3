"""Who a request is made by."""

import base64

import pytest
from runstream_gateway.mlflow_api.actors import actor_metadata, actor_of
from starlette.requests import Request


def _request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": raw})


def _basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


@pytest.mark.parametrize(
    ("headers", "actor"),
    [
        ({}, "mlflow-client"),
        ({"x_runstream_actor": "ada"}, "ada"),
        ({"x_runstream_actor": "  "}, "mlflow-client"),
        ({"x_runstream_actor": "J%C3%BCrgen"}, "Jürgen"),
        ({"authorization": _basic("grace:secret:with:colons")}, "grace"),
        ({"authorization": _basic("grace:secret"), "x_runstream_actor": "ada"}, "grace"),
        ({"authorization": _basic(":secret"), "x_runstream_actor": "ada"}, "ada"),
        ({"authorization": "Basic no*base64", "x_runstream_actor": "ada"}, "ada"),
        ({"authorization": "Bearer token"}, "mlflow-client"),
    ],
)
def test_the_user_of_http_basic_comes_before_the_header(headers: dict[str, str], actor: str) -> None:
    assert actor_of(_request(**headers)) == actor


def test_names_travel_as_ascii() -> None:
    assert actor_metadata(_request(authorization=_basic("Jürgen:x"))) == (("runstream-actor", "J%C3%BCrgen"),)
