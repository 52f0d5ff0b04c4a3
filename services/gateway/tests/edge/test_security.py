"""Hosts and origins, as MLflow's security layer treats them."""

from __future__ import annotations

import pytest
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.tests.edge.serving import serving

API = "/api/2.0/mlflow/runs/create"


async def fine(request: Request) -> Response:
    return json_reply({})


ROUTES = [
    Route("POST", API, fine),
    Route("GET", "/health", fine),
    Route("GET", "/static-files/{path:path}", fine),
]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:5000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:5000", 200),
        ("10.1.2.3", 200),
        ("172.31.0.1:80", 200),
        ("192.168.7.7", 200),
        ("[fd00::1]", 200),
        ("172.32.0.1", 403),
        ("8.8.8.8", 403),
        ("evil.example", 403),
        # Allowed by MLflow's text patterns, but a name that anyone can register.
        ("10.evil.example", 403),
        ("localhost.evil.example", 403),
        ("user@localhost", 403),
        ("localhost:port", 403),
        ("", 403),
    ],
)
async def test_hosts_by_default(host: str, status: int) -> None:
    async with serving(ROUTES) as served:
        answer = await served.ask("POST", API, headers={"Host": host}, body=b"{}")
        assert answer.status == status
        if status == 403:
            assert answer.body == b"Invalid Host header - possible DNS rebinding attack detected"
            assert answer.headers["content-type"].startswith("text/plain")


async def test_given_hosts_replace_the_usual_ones() -> None:
    async with serving(ROUTES, http_allowed_hosts=("ml.example:*", "Tracking.example")) as served:
        for host, status in (("ml.example:80", 200), ("tracking.EXAMPLE", 200), ("localhost", 403)):
            assert (await served.ask("POST", API, headers={"Host": host}, body=b"{}")).status == status
        # Probes address a server by whatever name it has.
        assert (await served.ask("GET", "/health", headers={"Host": "10-0-0-1.pod"})).status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200),
        ("https://127.0.0.1", 200),
        ("https://pages.example", 200),
        ("https://a.apps.example", 200),
        # The page that the server itself served, under a name that it accepts.
        ("http://10.0.0.5:5000", 200),
        ("http://10.0.0.5:5001", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[broken", 403),
    ],
)
async def test_origins_that_may_change_something(origin: str, status: int) -> None:
    allowed = ("https://pages.example", "https://*.apps.example")
    async with serving(ROUTES, http_allowed_origins=allowed) as served:
        headers = {"Host": "10.0.0.5:5000", "Origin": origin}
        answer = await served.ask("POST", API, headers=headers, body=b"{}")
        assert answer.status == status
        if status == 403:
            assert answer.body == b"Cross-origin request blocked"
        # Reading is the browser's business: without the header it keeps the answer from the page.
        read = await served.ask("GET", "/health", headers=headers)
        assert read.status == 200
        foreign = origin not in (
            "http://localhost:3000",
            "https://127.0.0.1",
            *allowed[:1],
            "https://a.apps.example",
        )
        assert ("access-control-allow-origin" in read.headers) is not foreign


async def test_preflights() -> None:
    async with serving(ROUTES) as served:
        headers = {
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        answer = await served.ask("OPTIONS", API, headers=headers)
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["access-control-allow-headers"] == "content-type"
        assert "PATCH" in answer.headers["access-control-allow-methods"]
        refused = await served.ask("OPTIONS", API, headers={**headers, "Origin": "https://evil.example"})
        assert refused.status == 400
        assert "access-control-allow-origin" not in refused.headers


async def test_any_origin_has_no_credentials() -> None:
    async with serving(ROUTES, http_allowed_origins=("*",)) as served:
        answer = await served.ask("POST", API, headers={"Origin": "https://any.example"}, body=b"{}")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert "access-control-allow-credentials" not in answer.headers


async def test_headers_of_every_answer() -> None:
    framed = "/static-files/lib/notebook-trace-renderer/index.html"
    async with serving(ROUTES) as served:
        for path in ("/health", "/nothing"):
            answer = await served.ask("GET", path)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert "x-frame-options" not in (await served.ask("GET", framed)).headers
    async with serving(ROUTES, http_frame_options="NONE") as served:
        assert "x-frame-options" not in (await served.ask("GET", "/health")).headers
