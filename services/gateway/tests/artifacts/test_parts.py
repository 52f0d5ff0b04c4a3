"""The pieces that artifacts are served with, each by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mlflow.exceptions import MlflowException
from runstream_common.errors import Unavailable
from runstream_common.object_store.errors import ObjectStoreFull, ObjectStoreRefused
from runstream_gateway.files.addresses import absolute, host_of_target
from runstream_gateway.files.bodies import Body
from runstream_gateway.files.content_replies import Span, asked_span, attachment
from runstream_gateway.mlflow_api.artifacts.answers import in_mlflows_words
from runstream_gateway.mlflow_api.artifacts.paths import content_type, located, place_of_uri, safe_path
from runstream_gateway.mlflow_api.errors import error_reply
from runstream_proto.artifact.v1 import types_pb2 as types

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RUN, OTHER = "a" * 32, "b" * 32


@pytest.mark.parametrize(
    ("path", "kind", "owner_id", "inner", "above"),
    [
        (f"1/{RUN}/artifacts/x/y", "RUN", RUN, "x/y", False),
        (f"1/{RUN}/artifacts", "RUN", RUN, "", False),
        (f"1/{RUN}", "RUN", RUN, "", True),
        (f"custom/place/{RUN}/artifacts/x", "RUN", RUN, "x", False),
        (f"{RUN}/artifacts/x", "RUN", RUN, "x", False),
        (f"1/{RUN}/artifacts/{OTHER}/artifacts/x", "RUN", RUN, f"{OTHER}/artifacts/x", False),
        (f"1/models/m-{RUN}/artifacts/x", "LOGGED_MODEL", f"m-{RUN}", "x", False),
        (
            f"1/models/m-{RUN}/artifacts/{OTHER}/artifacts/x",
            "LOGGED_MODEL",
            f"m-{RUN}",
            f"{OTHER}/artifacts/x",
            False,
        ),
        (f"1/traces/tr-{RUN}/artifacts/x", "TRACE", f"tr-{RUN}", "x", False),
        (f"1/{RUN}/artifactsx", "PROXY", "rest", f"1/{RUN}/artifactsx", False),
        (f"1/{RUN[:-1]}/artifacts/x", "PROXY", "rest", f"1/{RUN[:-1]}/artifacts/x", False),
        (f"1/{RUN.upper()}/artifacts/x", "PROXY", "rest", f"1/{RUN.upper()}/artifacts/x", False),
        ("any/path.txt", "PROXY", "rest", "any/path.txt", False),
        ("", "PROXY", "rest", "", False),
    ],
)
def test_whose_file_a_path_is(path: str, kind: str, owner_id: str, inner: str, above: bool) -> None:
    found = located(path)
    owner = types.Owner(kind=types.OwnerKind.Value(f"OWNER_KIND_{kind}"), id=owner_id)
    assert (found.place.owner, found.place.path, found.above) == (owner, inner, above)


@pytest.mark.parametrize(
    ("text", "path"),
    [("", ""), (".", ""), ("a/", "a"), ("a//b", "a/b"), ("./a/./b", "a/b"), ("...", "..."), ("a%20b", "a b")],
)
def test_safe_paths_are_cleaned(text: str, path: str) -> None:
    assert safe_path(text) == path


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        (f"mlflow-artifacts:/1/{RUN}/artifacts/m", "m"),
        (f"mlflow-artifacts://host:5000/1/{RUN}/artifacts/m", "m"),
        (f"http://h/api/2.0/mlflow-artifacts/artifacts/1/{RUN}/artifacts/m", "m"),
        ("s3://bucket/x", None),
        ("http://[", None),
        ("/local/folder", None),
    ],
)
def test_which_locations_are_kept_here(uri: str, path: str | None) -> None:
    place = place_of_uri(uri)
    assert (place and place.path) == path


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("", None),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=5-", Span(5, 10)),
        ("bytes=-3", Span(7, 10)),
        ("bytes=-30", Span(0, 10)),
        ("bytes=2-100", Span(2, 10)),
        ("bytes=10-", Span(10, 10)),
        ("bytes=-0", Span(10, 10)),
        ("bytes=3-2", None),
        ("bytes=-", None),
        ("bytes=1-2,3-4", None),
        ("lines=1-2", None),
        ("bytes=٣-٤", None),
    ],
)
def test_what_a_range_asks_for(header: str, span: Span | None) -> None:
    assert asked_span(header, 10) == span


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.txt", "attachment; filename=a.txt"),
        ("a b", 'attachment; filename="a b"'),
        ('a"b\\c', 'attachment; filename="a\\"b\\\\c"'),
        ("a\r\nX: y", 'attachment; filename="aX: y"'),
        ("日本", "attachment; filename=download; filename*=UTF-8''%E6%97%A5%E6%9C%AC"),
    ],
)
def test_names_in_headers(name: str, header: str) -> None:
    assert attachment(name) == header


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("d/x.yaml", "text/plain"),
        ("MLmodel", "text/plain"),
        ("a.svg", "image/svg+xml"),
        ("x", "application/octet-stream"),
    ],
)
def test_types_are_those_that_mlflow_shows(path: str, media_type: str) -> None:
    assert content_type(path) == media_type


@pytest.mark.parametrize(
    ("target", "host"),
    [("files:5052", "files"), ("dns:///files:5052", "files"), ("[::1]:5052", "[::1]"), ("files", "files")],
)
def test_a_url_without_a_host_means_the_artifact_services(target: str, host: str) -> None:
    assert (
        absolute("http://:5072/objects/x?y=%2F", host_of_target(target))
        == f"http://{host}:5072/objects/x?y=%2F"
    )
    assert absolute("http://s3:9000/b/x", host) == "http://s3:9000/b/x"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ObjectStoreFull("full"), 507),
        (Unavailable("away", reason="OBJECT_STORE_UNAVAILABLE"), 503),
        (ObjectStoreRefused("refused"), 500),
    ],
)
def test_troubles_of_the_store_are_told_apart(error: Exception, status: int) -> None:
    with pytest.raises(MlflowException) as caught, in_mlflows_words("a"):
        raise error
    assert error_reply(caught.value).status_code == status


def body_of(*pieces: bytes, size_bytes: int | None = None) -> Body:
    async def coming() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return Body(coming(), size_bytes)


async def test_a_small_body_is_gathered_and_a_large_one_loses_nothing() -> None:
    assert await body_of(b"ab", b"", b"c").whole_if_small(3) == b"abc"
    large = body_of(b"ab", b"", b"cd")
    assert await large.whole_if_small(3) is None
    assert b"".join([piece async for piece in large.rest()]) == b"abcd"
    assert await body_of(b"ab", size_bytes=2).whole_if_small(1) is None


async def test_a_body_is_cut_into_parts() -> None:
    body = body_of(b"abc", b"defgh")
    parts = [b"".join([piece async for piece in body.part(3)]) for _ in range(4)]
    assert parts == [b"abc", b"def", b"gh", b""]


async def test_why_a_body_stopped_is_remembered() -> None:
    async def coming() -> AsyncIterator[bytes]:
        yield b"a"
        raise ConnectionResetError

    body = Body(coming(), None)
    with pytest.raises(ConnectionResetError):
        await body.whole_if_small(10)
    assert isinstance(body.error, ConnectionResetError)
