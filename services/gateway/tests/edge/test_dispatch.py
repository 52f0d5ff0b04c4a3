"""Which handler a request reaches, and what it gets when none or a failing one is there."""

from __future__ import annotations

import pytest
from mlflow.exceptions import MlflowException
from runstream_common.errors import NotFound
from runstream_gateway.edge.routing import RouteTable
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.gateway.tests.edge.serving import serving


async def echo(request: Request) -> Response:
    return json_reply({"path": request.path_params, "method": request.method})


def test_the_longest_literal_beginning_wins() -> None:
    table = RouteTable(
        [
            Route("GET", "/a/{rest:path}", echo, name="all"),
            Route("GET", "/a/b/{name}", echo, name="b"),
            Route("GET", "/a/b/fixed", echo, name="fixed"),
            Route("POST", "/a/b/{name}/{more:path}", echo, name="more"),
        ],
        default_max_body_bytes=1,
    )

    def found(method: str, path: str) -> tuple[str, dict[str, str]] | None:
        match = table.find(method, path)
        return None if match is None else (match[0].name, dict(match[1]))

    assert found("GET", "/a/b/fixed") == ("fixed", {})
    assert found("HEAD", "/a/b/fixed") == ("fixed", {})
    assert found("GET", "/a/b/x") == ("b", {"name": "x"})
    assert found("GET", "/a/b/x/y") == ("all", {"rest": "b/x/y"})
    assert found("POST", "/a/b/x/y/z") == ("more", {"name": "x", "more": "y/z"})
    assert found("GET", "/a/b/fixed/") == ("all", {"rest": "b/fixed/"})
    assert found("GET", "/b") is None
    assert table.allowed("/a/b/x/y") == ["GET", "HEAD", "POST"]
    assert table.allowed("/b") == []


def test_a_route_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="GET /x"):
        RouteTable([Route("GET", "/x", echo), Route("GET", "/x", echo)], default_max_body_bytes=1)


async def test_unknown_paths_and_methods() -> None:
    async with serving([Route("GET", "/known", echo), Route("POST", "/known", echo)]) as served:
        missing = await served.ask("GET", "/unknown")
        assert (missing.status, missing.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
        refused = await served.ask("DELETE", "/known")
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, POST, OPTIONS")
        options = await served.ask("OPTIONS", "/known")
        assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, POST, OPTIONS")
        slash = await served.ask("GET", "/known/")
        assert slash.status == 404
        assert (
            served.counted("runstream_http_requests_total", route="unmatched", method="GET", status="4xx")
            == 2
        )


async def test_people_get_a_page() -> None:
    async with serving([]) as served:
        for path, headers in (("/console/nothing", {}), ("/nothing", {"Accept": "text/html,*/*"})):
            answer = await served.ask("GET", path, headers=headers)
            assert answer.status == 404
            assert answer.headers["content-type"].startswith("text/html")
            assert b"<h1>Not found</h1>" in answer.body


async def test_head_has_the_headers_alone() -> None:
    async with serving([Route("GET", "/x", echo)]) as served, served.connected() as client:
        answer = await client.ask("HEAD", "/x")
        assert (answer.status, answer.body) == (200, b"")
        assert int(answer.headers["content-length"]) > 0
        # The connection is still in step.
        assert (await client.ask("GET", "/x")).json()["method"] == "GET"


async def test_parameters_are_decoded_once() -> None:
    async with serving([Route("GET", "/files/{path:path}", echo)]) as served:
        answer = await served.ask("GET", "/files/a%20b/%2541/%C3%A9")
        assert answer.json()["path"] == {"path": "a b/%41/é"}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (MlflowException("no", error_code=1000), 400, "INVALID_PARAMETER_VALUE"),
        (NotFound("gone", reason="RUN_NOT_FOUND"), 404, "RESOURCE_DOES_NOT_EXIST"),
        (KeyError("secret text"), 500, "INTERNAL_ERROR"),
        (TimeoutError("secret text"), 500, "INTERNAL_ERROR"),
    ],
)
async def test_errors_become_answers(error: Exception, status: int, code: str) -> None:
    async def fail(request: Request) -> Response:
        raise error

    async with serving([Route("GET", "/x", fail)]) as served:
        answer = await served.ask("GET", "/x")
        assert (answer.status, answer.json()["error_code"]) == (status, code)
        assert "secret" not in answer.body.decode()


async def test_an_answer_that_breaks_off_is_seen_as_broken() -> None:
    async def broken(request: Request) -> Response:
        async def parts():  # type: ignore[no-untyped-def]
            yield b"first"
            raise OSError("the store is gone")

        return StreamingResponse(parts(), media_type="application/octet-stream")

    async with serving([Route("GET", "/x", broken)]) as served, served.connected() as client:
        await client.send("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = await client.reader.read(-1)
        assert b"first" in received
        # Chunked, and without the chunk that would end it.
        assert not received.endswith(b"0\r\n\r\n")


async def test_everything_is_below_the_prefix() -> None:
    artifacts = "/api/2.0/mlflow-artifacts/artifacts/{path:path}"
    routes = [Route("GET", "/", echo), Route("GET", "/version", echo), Route("GET", artifacts, echo)]
    async with serving(routes, http_prefix="/mlflow") as served:
        assert (await served.ask("GET", "/mlflow/version")).status == 200
        assert (await served.ask("GET", "/mlflow/")).status == 200
        assert (await served.ask("GET", "/version")).status == 404
        assert (await served.ask("GET", "/mlflowx/version")).status == 404
        assert (await served.ask("GET", "/api/2.0/mlflow-artifacts/artifacts/a")).status == 200
        for path in ("/mlflow", "/"):
            moved = await served.ask("GET", path)
            assert (moved.status, moved.headers["location"]) == (308, "/mlflow/")


async def test_request_ids() -> None:
    async with serving([Route("GET", "/x", echo)]) as served:
        taken = await served.ask("GET", "/x", headers={"X-Request-Id": "job-7.a"})
        assert taken.headers["x-request-id"] == "job-7.a"
        for bad in ("a b", "x" * 129, "<script>"):
            made = await served.ask("GET", "/x", headers={"X-Request-Id": bad})
            assert len(made.headers["x-request-id"]) == 32
