"""Slow clients, slow handlers, clients that leave, and too many of them. Patience is set short; nothing is timed."""

from __future__ import annotations

import asyncio

import pytest
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.gateway.tests.edge.serving import serving, until

SHORT = 0.2


async def length(request: Request) -> Response:
    return json_reply({"length": len(await request.body())})


async def streamed_length(request: Request) -> Response:
    return json_reply({"length": sum([len(part) async for part in request.stream()])})


class Held:
    """A handler that waits to be let go, and tells what became of it."""

    def __init__(self) -> None:
        self.entered = 0
        self.cancelled = 0
        self.finished = 0
        self.go = asyncio.Event()

    async def __call__(self, request: Request) -> Response:
        self.entered += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.finished += 1
        return json_reply({})


@pytest.mark.parametrize("sent", ["GET /x HT", "GET /x HTTP/1.1\r\nHost: localhost\r\nX-Long: "])
async def test_headers_that_do_not_come_are_408(sent: str) -> None:
    async with (
        serving([Route("GET", "/x", length)], http_header_timeout_seconds=SHORT) as served,
        served.connected() as client,
    ):
        await client.send(sent)
        answer = await client.answer()
        assert (answer.status, answer.json()["error_code"]) == (408, "DEADLINE_EXCEEDED")
        assert await client.is_closed()


async def test_headers_that_drip_are_not_waited_for() -> None:
    async with (
        serving([Route("GET", "/x", length)], http_header_timeout_seconds=SHORT) as served,
        served.connected() as client,
    ):
        await client.send("GET /x HTTP/1.1\r\n")
        answer = asyncio.create_task(client.answer())
        while not answer.done():
            await client.send("X: y\r\n")
            await asyncio.sleep(SHORT / 10)
        assert answer.result().status == 408


async def test_a_connection_without_a_request_is_closed_silently() -> None:
    async with serving([], http_header_timeout_seconds=SHORT) as served, served.connected() as client:
        assert await client.is_closed()


async def test_a_kept_connection_is_closed_after_its_time() -> None:
    async with (
        serving([Route("GET", "/x", length)], http_keep_alive_seconds=1) as served,
        served.connected() as client,
    ):
        assert (await client.ask("GET", "/x")).status == 200
        assert await client.is_closed()


@pytest.mark.parametrize("path", ["/whole", "/streamed"])
async def test_a_body_that_stops_is_408(path: str) -> None:
    routes = [Route("POST", "/whole", length), Route("POST", "/streamed", streamed_length, max_body_bytes=0)]
    async with serving(routes, http_stall_timeout_seconds=SHORT) as served, served.connected() as client:
        await client.send(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345")
        answer = await client.answer()
        assert (answer.status, answer.json()["error_code"]) == (408, "DEADLINE_EXCEEDED")
        assert await client.is_closed()
        await until(lambda: served.counted("runstream_http_in_flight") == 0)
        # To the handler the client left, which is nobody's error.
        assert served.counted("runstream_http_requests_total", route=path, method="POST", status="499") == 1


async def test_a_body_that_drips_is_taken_by_a_streaming_handler() -> None:
    routes = [Route("POST", "/streamed", streamed_length, max_body_bytes=0)]
    async with serving(routes, http_stall_timeout_seconds=5 * SHORT) as served, served.connected() as client:
        await client.send("POST /streamed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n")
        for _ in range(20):
            await client.send("x")
            await asyncio.sleep(SHORT / 2)
        assert (await client.answer()).json() == {"length": 20}


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    async def endless(request: Request) -> Response:
        async def parts():  # type: ignore[no-untyped-def]
            while True:
                yield b"x" * 65_536

        return StreamingResponse(parts(), media_type="application/octet-stream")

    async with (
        serving([Route("GET", "/endless", endless)], http_stall_timeout_seconds=SHORT) as served,
        served.connected() as client,
    ):
        await client.send("GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: served.counted("runstream_http_in_flight") == 1)
        await until(lambda: served.counted("runstream_http_in_flight") == 0)


@pytest.mark.parametrize("name", ["X-Long", "Host"])
async def test_headers_that_are_too_long_are_431(name: str) -> None:
    async with serving([Route("GET", "/x", length)], http_max_header_bytes=2000) as served:
        async with served.connected() as client:
            await client.send(f"GET /x HTTP/1.1\r\n{name}: {'x' * 2100}\r\n\r\n")
            assert (await client.answer()).status == 431
        async with served.connected() as client:
            # Never complete: refused while it comes.
            await client.send(f"GET /x HTTP/1.1\r\n{name}: {'x' * 2100}")
            assert (await client.answer()).status == 431
            assert await client.is_closed()


async def test_a_request_that_takes_too_long_is_504() -> None:
    held = Held()
    async with serving([Route("POST", "/x", held)], http_request_timeout_seconds=SHORT) as served:
        answer = await served.ask("POST", "/x", body=b"{}")
        assert (answer.status, answer.json()["error_code"]) == (504, "DEADLINE_EXCEEDED")
        assert (held.cancelled, held.finished) == (1, 0)


async def test_reading_ends_when_the_client_leaves() -> None:
    held = Held()
    routes = [Route("GET", "/x", held), Route("POST", "/api/2.0/mlflow/runs/search", held)]
    async with serving(routes) as served:
        for count, request in enumerate(("GET /x", "POST /api/2.0/mlflow/runs/search"), start=1):
            async with served.connected() as client:
                await client.send(f"{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
                await until(lambda: held.entered == count)  # noqa: B023 - within the round
            await until(lambda: held.cancelled == count)  # noqa: B023 - within the round
        assert served.counted("runstream_http_requests_total", route="/x", method="GET", status="499") == 1


async def test_writing_is_finished_although_the_client_leaves() -> None:
    held = Held()
    async with serving([Route("POST", "/x", held)]) as served:
        async with served.connected() as client:
            await client.send("POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            await until(lambda: held.entered == 1)
        # The server learns of it before the work goes on.
        await until(lambda: not served.server._server.server_state.connections)
        held.go.set()
        await until(lambda: held.finished == 1)
        assert held.cancelled == 0


async def test_more_than_the_limit_are_sent_away() -> None:
    held = Held()
    routes = [Route("POST", "/x", held), Route("GET", "/health", length)]
    async with serving(routes, http_max_concurrent_requests=2) as served:
        asking = [asyncio.create_task(served.ask("POST", "/x", body=b"")) for _ in range(2)]
        await until(lambda: held.entered == 2)
        refused = await served.ask("POST", "/x", body=b"")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
        # A probe is answered all the same: a busy server is alive.
        assert (await served.ask("GET", "/health")).status == 200
        held.go.set()
        assert [(await task).status for task in asking] == [200, 200]
        assert (await served.ask("POST", "/x", body=b"")).status == 200


async def test_stopping_finishes_what_is_being_answered() -> None:
    held = Held()
    async with serving([Route("POST", "/x", held)]) as served:
        asking = asyncio.create_task(served.ask("POST", "/x", body=b""))
        await until(lambda: held.entered == 1)
        stopping = asyncio.create_task(served.server.stop())
        await until(lambda: not served.server._server.servers[0].is_serving())
        held.go.set()
        assert (await asking).status == 200
        await stopping


async def test_stopping_ends_event_streams() -> None:
    listening = asyncio.Event()

    async def events(request: Request) -> Response:
        async def parts():  # type: ignore[no-untyped-def]
            yield b"data: 1\n\n"
            listening.set()
            await asyncio.Event().wait()

        return StreamingResponse(parts(), media_type="text/event-stream")

    async with serving([Route("GET", "/events", events)]) as served, served.connected() as client:
        await client.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await listening.wait()
        await served.server.stop()
        assert await client.reader.read(-1)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving([Route("POST", "/x", length)]) as served, served.connected() as client:
        for size in (1, 2, 3):
            await client.send(
                f"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n", b"x" * size
            )
        assert [(await client.answer()).json()["length"] for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    "sent",
    [
        "nonsense\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_400(sent: str) -> None:
    async with serving([Route("POST", "/x", length)]) as served, served.connected() as client:
        await client.send(sent.encode("latin-1"))
        assert (await client.answer()).status == 400
        assert await client.is_closed()
