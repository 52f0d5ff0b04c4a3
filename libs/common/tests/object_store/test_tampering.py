"""A signed request serves for what was signed and nothing else."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runstream_common.clock import ManualClock
from runstream_common.errors import InvalidArgument
from runstream_common.object_store.keys import blob_key, checked_key
from runstream_common.object_store.local_signing import UrlRefused, UrlSigner

from tests.support.object_store import SECRET, Multipart, Sender, sha256, signed_get, signed_put

if TYPE_CHECKING:
    from runstream_common.object_store.api import ObjectStore, SignedRequest

CONTENT = b"what was announced"
OTHER = b"what was smuggled!"
KEY = blob_key(sha256(CONTENT))
REFUSED = {400, 403, 405}


def changed_queries(url: str) -> list[str]:
    """The URL with each of its parameters changed or left out."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query)
    queries = []
    for at, (name, value) in enumerate(pairs):
        other = str(int(value) + 1) if value.isdigit() else value[:-1] + ("A" if value[-1] != "A" else "B")
        queries += [
            [*pairs[:at], (name, other), *pairs[at + 1 :]],
            [*pairs[:at], *pairs[at + 1 :]],
        ]
    return [parts._replace(query=urlencode(query)).geturl() for query in queries]


async def test_every_parameter_of_a_put_counts(store: ObjectStore, send: Sender) -> None:
    request = signed_put(store, KEY, CONTENT)
    for url in changed_queries(request.url):
        answer = await send(request, CONTENT, url=url)
        assert answer.status in REFUSED, url
    assert await store.stat(KEY) is None


async def test_every_parameter_of_a_get_counts(store: ObjectStore, send: Sender) -> None:
    await send(signed_put(store, KEY, CONTENT), CONTENT)
    request = signed_get(store, KEY)
    for url in changed_queries(request.url):
        answer = await send(request, url=url)
        assert answer.status in REFUSED, url
        assert CONTENT not in answer.body


async def test_every_parameter_of_a_part_counts(store: ObjectStore, send: Sender) -> None:
    upload = Multipart(store, send, KEY)
    await upload.open()
    request = upload.signed(3)
    for url in changed_queries(request.url):
        answer = await send(request, upload.parts[2], url=url)
        assert answer.status in REFUSED, url
    assert await upload.received() == []


@pytest.mark.parametrize("header", ["x-amz-checksum-sha256", "content-type", "content-length"])
async def test_every_header_of_a_put_counts(store: ObjectStore, send: Sender, header: str) -> None:
    request = signed_put(store, KEY, CONTENT)
    other = signed_put(store, KEY, OTHER + b"!").headers[header] if header != "content-type" else "text/html"
    body = OTHER + b"!" if header == "content-length" else OTHER
    assert (await send(request, body, headers={header: other})).status in REFUSED
    if header != "content-length":  # HTTP cannot do without
        assert (await send(request, OTHER, headers={header: None})).status in REFUSED
    assert await store.stat(KEY) is None


async def test_a_part_needs_its_checksum(store: ObjectStore, send: Sender) -> None:
    upload = Multipart(store, send, KEY)
    await upload.open()
    answer = await send(upload.signed(3), upload.parts[2], headers={"x-amz-checksum-crc32": None})
    assert answer.status in REFUSED
    assert await upload.received() == []


async def test_the_method_counts(store: ObjectStore, send: Sender) -> None:
    await send(signed_put(store, KEY, CONTENT), CONTENT)
    for request in (signed_put(store, KEY, CONTENT), signed_get(store, KEY)):
        for method in {"PUT", "GET", "DELETE", "POST"} - {request.method}:
            headers = {} if method == "PUT" else {"content-length": None}
            answer = await send(request, OTHER if method == "PUT" else None, method=method, headers=headers)
            assert answer.status in REFUSED, method
            assert CONTENT not in answer.body
    assert await store.read(KEY, 100) == CONTENT


async def test_the_key_counts(store: ObjectStore, send: Sender) -> None:
    other = blob_key(sha256(OTHER))
    await send(signed_put(store, other, OTHER), OTHER)
    for path in (other, f"{KEY}/../{sha256(OTHER).hex()}", "uploads/x", ".staging/x", "../x", "%2e%2e/x", ""):
        for request, body in ((signed_put(store, KEY, CONTENT), CONTENT), (signed_get(store, KEY), None)):
            answer = await send(request, body, url=request.url.replace(KEY, path))
            assert answer.status in REFUSED | {404}, path
            assert OTHER not in answer.body
    assert await store.read(other, 100) == OTHER


SIGNER = UrlSigner(SECRET, ManualClock())


def signed_by_us(method: str, headers: dict[str, str], query: dict[str, str]) -> SignedRequest:
    return SIGNER.sign(method, KEY, base_url="http://h", headers=headers, query=query, expires_seconds=60)


def verified(method: str, key: str, pairs: list[tuple[str, str]], headers: dict[str, str]) -> bool:
    try:
        SIGNER.verify(method, key, pairs, headers)
    except UrlRefused:
        return False
    return True


words = st.text(st.characters(codec="utf-8"), max_size=12)
printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
queries = st.dictionaries(words.filter(lambda name: not name.startswith("X-")), words, max_size=3)
put_headers = st.fixed_dictionaries(
    {"content-length": printable, "content-type": printable, "x-amz-checksum-sha256": printable}
)


@given(queries, put_headers, st.data())
def test_no_change_goes_unnoticed(
    query: dict[str, str], headers: dict[str, str], data: st.DataObject
) -> None:
    query = {name: value for name, value in query.items() if name != "uploadId"}
    request = signed_by_us("PUT", headers, query)
    pairs = parse_qsl(urlsplit(request.url).query, keep_blank_values=True)
    assert verified("PUT", KEY, pairs, headers)
    at = data.draw(st.integers(0, len(pairs) - 1))
    name, value = pairs[at]
    other = data.draw(words.filter(lambda text: text != value))
    assert not verified("PUT", KEY, [*pairs[:at], (name, other), *pairs[at + 1 :]], headers)
    assert not verified("PUT", KEY, [*pairs[:at], *pairs[at + 1 :]], headers)
    assert not verified("PUT", KEY, [*pairs, (name, other)], headers)
    header = data.draw(st.sampled_from(sorted(headers)))
    assert not verified("PUT", KEY, pairs, {**headers, header: headers[header] + "x"})
    assert not verified("GET", KEY, pairs, headers)
    assert not verified("PUT", blob_key(sha256(OTHER)), pairs, headers)


@given(st.binary(min_size=32).filter(lambda secret: secret != SECRET))
def test_another_secret_signs_nothing_of_ours(secret: bytes) -> None:
    foreign = UrlSigner(secret, ManualClock())
    request = foreign.sign("GET", KEY, base_url="http://h", headers={}, query={}, expires_seconds=60)
    assert not verified("GET", KEY, parse_qsl(urlsplit(request.url).query), {})


def test_a_url_serves_until_it_expires_and_no_longer() -> None:
    clock = ManualClock()
    signer = UrlSigner(SECRET, clock)
    request = signer.sign("GET", KEY, base_url="http://h", headers={}, query={}, expires_seconds=60)
    pairs = parse_qsl(urlsplit(request.url).query)
    assert request.expire_time_ms == clock.now_ms() + 60_000
    clock.advance(59.999)
    assert signer.verify("HEAD", KEY, pairs, {}).key == KEY
    clock.advance(0.001)
    with pytest.raises(UrlRefused, match="expired"):
        signer.verify("GET", KEY, pairs, {})


@pytest.mark.parametrize("seconds", [0, -1, 604_801])
def test_no_url_serves_for_ever(seconds: int) -> None:
    with pytest.raises(InvalidArgument, match="expires_seconds"):
        SIGNER.sign("GET", KEY, base_url="http://h", headers={}, query={}, expires_seconds=seconds)


def test_a_secret_must_be_long() -> None:
    with pytest.raises(InvalidArgument, match="signing_secret"):
        UrlSigner(b"short", ManualClock())


@given(st.text(max_size=40))
def test_a_key_is_one_path_below_the_folder(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        key = checked_key(text)
        assert key.isascii()
        assert not {"", ".", ".."} & set(key.split("/"))
        assert not key.startswith((".", "/"))


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".staging/x", "a\\b", "a\0", "ä", "a" * 1025]
)
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidArgument, match="key"):
        checked_key(key)
