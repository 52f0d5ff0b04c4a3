"""Bodies in and out: limits, gzip both ways, and what is left alone."""

from __future__ import annotations

import gzip

import pytest
from runstream_gateway.edge.bodies import gunzip
from runstream_gateway.edge.compression import accepts_gzip
from runstream_gateway.edge.refusals import Refusal
from runstream_gateway.replies import PackedResponse, json_reply
from runstream_gateway.routes import Route
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.tests.edge.serving import serving

LIMIT = 10_000


async def length(request: Request) -> Response:
    return json_reply({"length": len(await request.body())})


async def streamed_length(request: Request) -> Response:
    return json_reply({"length": sum([len(part) async for part in request.stream()])})


ROUTES = [
    Route("POST", "/whole", length),
    Route("POST", "/small", length, max_body_bytes=10),
    Route("POST", "/streamed", streamed_length, max_body_bytes=0),
]


async def test_bodies_over_the_limit_are_413() -> None:
    async with serving(ROUTES, http_max_body_bytes=LIMIT) as served:
        assert (await served.ask("POST", "/whole", body=b"x" * LIMIT)).json() == {"length": LIMIT}
        assert (await served.ask("POST", "/whole", body=b"x" * (LIMIT + 1))).status == 413
        assert (await served.ask("POST", "/small", body=b"x" * 11)).status == 413
        assert (await served.ask("POST", "/streamed", body=b"x" * 9 * LIMIT)).json() == {"length": 9 * LIMIT}


async def test_a_refused_body_leaves_the_connection_in_step() -> None:
    async with serving(ROUTES, http_max_body_bytes=LIMIT) as served, served.connected() as client:
        refused = await client.ask("POST", "/whole", body=b"x" * 50 * LIMIT)
        assert (refused.status, refused.json()["error_code"]) == (413, "RESOURCE_LIMIT_EXCEEDED")
        assert (await client.ask("POST", "/whole", body=b"next")).json() == {"length": 4}


async def test_chunked_bodies_have_the_same_limit() -> None:
    chunk = b"3e8\r\n" + b"x" * 1000 + b"\r\n"
    async with serving(ROUTES, http_max_body_bytes=LIMIT) as served:
        for count, status in ((10, 200), (11, 413)):
            async with served.connected() as client:
                await client.send(
                    "POST /whole HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
                    chunk * count,
                    "0\r\n\r\n",
                )
                assert (await client.answer()).status == status


async def test_an_expected_continue_is_not_given_to_what_is_refused() -> None:
    async with serving(ROUTES, http_max_body_bytes=LIMIT) as served:
        async with served.connected() as client:
            await client.send(
                "POST /whole HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                f"Content-Length: {LIMIT + 1}\r\n\r\n"
            )
            answer = await client.answer()
            assert (answer.status, answer.interim) == (413, [])
        async with served.connected() as client:
            await client.send(
                "POST /whole HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
            )
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send("ok")
            assert (await client.answer()).json() == {"length": 2}


async def test_gzip_bodies_are_unpacked() -> None:
    packed = gzip.compress(b"x" * LIMIT)
    encoded = {"Content-Encoding": "gzip"}
    async with serving(ROUTES, http_max_body_bytes=LIMIT) as served:
        assert (await served.ask("POST", "/whole", headers=encoded, body=packed)).json() == {"length": LIMIT}
        bomb = gzip.compress(b"x" * 1000 * LIMIT)
        # Itself over no limit; what it holds is.
        answer = await served.ask("POST", "/whole", headers=encoded, body=bomb[:LIMIT])
        assert answer.status == 413
        for broken in (b"garbage", packed[:-5], packed + b"more", packed + packed):
            answer = await served.ask("POST", "/whole", headers=encoded, body=broken)
            assert (answer.status, answer.json()["error_code"]) == (400, "MALFORMED_REQUEST")
        other = await served.ask("POST", "/whole", headers={"Content-Encoding": "br"}, body=b"x")
        assert (other.status, other.headers["accept-encoding"]) == (415, "gzip")


def test_unpacking_stops_at_the_limit() -> None:
    packed = gzip.compress(b"x" * 100)
    assert gunzip(packed, 100) == b"x" * 100
    with pytest.raises(Refusal) as refused:
        gunzip(packed, 99)
    assert refused.value.status == 413


async def test_answers_are_packed_for_those_who_take_it() -> None:
    text = "word " * 1000

    async def big(request: Request) -> Response:
        return json_reply({"text": text})

    async def small(request: Request) -> Response:
        return json_reply({"text": "word"})

    async def picture(request: Request) -> Response:
        return Response(b"\0" * 5000, media_type="image/png")

    routes = [Route("GET", "/big", big), Route("GET", "/small", small), Route("GET", "/picture", picture)]
    takes_gzip = {"Accept-Encoding": "deflate, gzip"}
    async with serving(routes) as served:
        packed = await served.ask("GET", "/big", headers=takes_gzip)
        assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
        assert text.encode() in gzip.decompress(packed.body)
        plain = await served.ask("GET", "/big")
        assert "content-encoding" not in plain.headers
        # A cache must know that there are two, whichever it saw.
        assert plain.headers["vary"] == "Accept-Encoding"
        for path in ("/small", "/picture"):
            answer = await served.ask("GET", path, headers=takes_gzip)
            assert "content-encoding" not in answer.headers


async def test_what_is_at_hand_packed_is_sent_as_it_is() -> None:
    async def asset(request: Request) -> Response:
        return PackedResponse(b"x" * 2000, b"packed before", headers={}, media_type="text/css")

    async with serving([Route("GET", "/x", asset)]) as served:
        answer = await served.ask("GET", "/x", headers={"Accept-Encoding": "gzip"})
        assert (answer.body, answer.headers["content-encoding"]) == (b"packed before", "gzip")
        assert (await served.ask("GET", "/x")).body == b"x" * 2000


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (b"gzip", True),
        (b"GZIP;q=0.5", True),
        (b"br, gzip;q=0", False),
        (b"*", True),
        (b"*;q=0.0", False),
        (b"identity", False),
        (b"", False),
    ],
)
def test_reading_accept_encoding(header: bytes, taken: bool) -> None:
    assert accepts_gzip(header) is taken
