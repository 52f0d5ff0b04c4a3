"""What S3 adds: a server that is away or says no, buckets, lifecycle rules, servers that verify nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from runstream_common.errors import Unavailable
from runstream_common.object_store.api import StoreChecks
from runstream_common.object_store.errors import ObjectStoreRefused, ObjectStoreUnavailable
from runstream_common.object_store.location import S3Location, parse_location
from runstream_common.object_store.s3 import S3Store
from runstream_common.object_store.s3_hashing import hash_object, read_range
from runstream_common.object_store.s3_setup import RULE_ID
from urllib3.exceptions import ProtocolError

from tests.support.object_store import s3_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from deploy.local.s3.s3 import S3Server

KEY = "uploads/one"
pytestmark = pytest.mark.asyncio


def location(server: S3Server) -> S3Location:
    """A bucket that no test has."""
    parsed = parse_location(s3_url(server))
    assert isinstance(parsed, S3Location)
    return parsed


async def test_a_server_that_is_away() -> None:
    parsed = parse_location("s3://key:secret@127.0.0.1:1/bucket?region=us-east-1")
    assert isinstance(parsed, S3Location)
    store = S3Store(parsed)
    with pytest.raises(ObjectStoreUnavailable, match="bucket") as caught:
        await store.start()
    assert caught.value.retryable
    assert isinstance(caught.value, Unavailable)
    assert caught.value.retry_after_seconds
    assert "secret" not in caught.value.message
    await store.stop()


async def test_wrong_credentials_are_said_with_bucket_and_action(s3_server: S3Server) -> None:
    wrong = dataclasses.replace(location(s3_server), secret_key="wrong")
    store = S3Store(wrong)
    with pytest.raises(ObjectStoreRefused, match=wrong.bucket):
        await store.start()
    await store.stop()


async def test_a_missing_bucket_is_made_only_if_wanted(s3_server: S3Server) -> None:
    where = location(s3_server)
    unwanted = S3Store(where, create_bucket=False)
    with pytest.raises(ObjectStoreRefused, match=f"no bucket {where.bucket}"):
        await unwanted.start()
    for store in (S3Store(where), S3Store(where, create_bucket=False), S3Store(where)):
        await store.start()
        await store.ping()
        await store.stop()
    await unwanted.stop()


async def test_nothing_is_left_of_the_probe(s3_server: S3Server) -> None:
    where = location(s3_server)
    store = S3Store(where)
    await store.start()
    assert list(store._client.list_objects(where.bucket, recursive=True)) == []
    await store.stop()


class Flaky:
    """A client whose connection breaks within the body, so many times."""

    def __init__(self, content: bytes, breaks: int) -> None:
        self.content = content
        self.breaks = breaks

    def get_object(self, bucket: str, key: str, *, offset: int, length: int) -> Flaky:
        self.wanted = self.content[offset : offset + length]
        return self

    def read(self) -> bytes:
        if self.breaks:
            self.breaks -= 1
            raise ProtocolError("broken")
        return self.wanted

    def close(self) -> None: ...

    release_conn = close


async def test_a_range_whose_connection_breaks_is_read_again() -> None:
    assert read_range(Flaky(b"content", breaks=2), "bucket", KEY, 1, 3) == b"ont"  # type: ignore[arg-type]
    with pytest.raises(ProtocolError):
        read_range(Flaky(b"content", breaks=3), "bucket", KEY, 1, 3)  # type: ignore[arg-type]


async def test_a_stopping_process_does_not_wait_for_hashing(s3_server: S3Server) -> None:
    store = S3Store(location(s3_server))
    await store.start()
    store._workers.check_running()
    await store.stop()
    with pytest.raises(ObjectStoreUnavailable, match="stopped"):
        hash_object(store._client, "bucket", KEY, 2**40, store._workers.check_running)


class Credulous:
    """An S3 server that takes anything, as some do; knows enough of S3 to be started against."""

    def __init__(self) -> None:
        self.lifecycle = ""
        self.status = 200
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        await request.read()
        if self.status != 200:
            return web.Response(status=self.status)
        if "lifecycle" in request.query:
            return await self._lifecycle(request)
        if "uploads" in request.query:
            return web.Response(text="<R><UploadId>u</UploadId></R>", content_type="application/xml")
        return web.Response(status=204 if request.method == "DELETE" else 200)

    async def _lifecycle(self, request: web.Request) -> web.Response:
        if request.method == "PUT":
            self.lifecycle = await request.text()
            return web.Response()
        if not self.lifecycle:
            text = "<Error><Code>NoSuchLifecycleConfiguration</Code></Error>"
            return web.Response(status=404, text=text, content_type="application/xml")
        return web.Response(text=self.lifecycle, content_type="application/xml")

    def store(self, *, secure: bool = False, **settings: Any) -> S3Store:
        options = f"region=us-east-1&secure={str(secure).lower()}"
        parsed = parse_location(f"s3://key:secret@127.0.0.1:{self.port}/bucket?{options}")
        assert isinstance(parsed, S3Location)
        return S3Store(parsed, **settings)


@contextlib.asynccontextmanager
async def running_credulous(tls: ssl.SSLContext | None = None) -> AsyncIterator[Credulous]:
    server = Credulous()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


@pytest.fixture
async def credulous() -> AsyncIterator[Credulous]:
    async with running_credulous() as server:
        yield server


def self_signed(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """TLS of a server on 127.0.0.1, and the file of the certificate that vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    key_file, certificate_file = folder / "key.pem", folder / "certificate.pem"
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate_file, key_file)
    return context, certificate_file


async def test_certificates_are_checked_with_the_given_authority(tmp_path: Path) -> None:
    tls, certificate_file = self_signed(tmp_path)
    async with running_credulous(tls) as server:
        trusting = server.store(secure=True, ca_file=str(certificate_file))
        await trusting.start()
        url = trusting.sign_get(KEY, file_name="x", content_type="", expires_seconds=60).url
        assert url.startswith("https://127.0.0.1")
        await trusting.stop()
        doubting = server.store(secure=True)
        with pytest.raises(ObjectStoreUnavailable, match="SSLError"):
            await doubting.start()
        await doubting.stop()


async def test_a_server_that_verifies_nothing_is_found_out(credulous: Credulous) -> None:
    store = credulous.store()
    await store.start()
    assert store.checks == StoreChecks(sha256=False, part_crc32=False)
    await store.stop()


async def test_the_lifecycle_rule_is_set_once_and_renewed(credulous: Credulous) -> None:
    for days in (7, 3):
        store = credulous.store(abort_uploads_days=days)
        await store.start()
        await store.stop()
        rules = [text for text in ET.fromstring(credulous.lifecycle).itertext() if text.strip()]
        assert rules.count(RULE_ID) == 1
        assert str(days) in rules


async def test_rules_of_others_are_left_alone(credulous: Credulous) -> None:
    theirs = (
        "<LifecycleConfiguration><Rule><ID>theirs</ID><Status>Enabled</Status><Filter><Prefix>logs/</Prefix></Filter>"
        "<Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>"
    )
    credulous.lifecycle = theirs
    store = credulous.store()
    await store.start()
    await store.stop()
    assert credulous.lifecycle == theirs


async def test_no_rule_is_set_when_none_is_wanted(credulous: Credulous) -> None:
    store = credulous.store(abort_uploads_days=0)
    await store.start()
    await store.stop()
    assert credulous.lifecycle == ""


async def test_a_server_that_fails_is_away_and_not_wrong(credulous: Credulous) -> None:
    store = credulous.store()
    await store.start()
    credulous.status = 503
    with pytest.raises(ObjectStoreUnavailable):
        await store.stat(KEY)
    with pytest.raises(ObjectStoreUnavailable):
        await store.complete_multipart(KEY, "u", [])
    await store.stop()
