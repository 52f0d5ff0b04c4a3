"""One call within its limits: time, size, redirects, and errors that tell no secret."""

from __future__ import annotations

import asyncio
import socket
import ssl
from email.utils import formatdate
from types import SimpleNamespace

import pytest
from aiohttp import web
from runstream_registry.webhooks import delivery
from runstream_registry.webhooks.delivery import MAX_ANSWER_BYTES, WebhookSender

from services.registry.tests.webhooks.support import hang_until, status


@pytest.fixture
async def sender(settings):
    sender = WebhookSender(settings)
    yield sender
    await sender.stop()


async def test_the_answer_is_told(sender, receiver):
    answer = await sender.send(receiver.url, {"X-Test": "1"}, '{"ä": 1}')

    assert (answer.status, answer.body, answer.error, answer.success) == (200, "thanks", "", True)
    [call] = receiver.calls
    assert (call.body, call.headers["X-Test"]) == ('{"ä": 1}', "1")


async def test_redirects_are_not_followed(sender, receiver, other_receiver):
    receiver.answers.append(status(307, Location=other_receiver.url))

    answer = await sender.send(receiver.url, {}, "{}")

    assert (answer.status, answer.success, answer.error) == (307, False, "redirects are not followed")
    assert other_receiver.calls == []


async def test_only_the_start_of_an_endless_answer_is_read(sender, receiver):
    cut = asyncio.Event()

    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        except ConnectionError:
            cut.set()
            raise

    receiver.answers.append(endless)
    answer = await sender.send(receiver.url, {}, "{}")
    await asyncio.wait_for(cut.wait(), 30)

    assert (answer.status, answer.body) == (200, "x" * MAX_ANSWER_BYTES)


async def test_a_compressed_answer_is_not_unpacked(sender, receiver):
    async def compressed(_request):
        return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})

    receiver.answers.append(compressed)
    answer = await sender.send(receiver.url, {}, "{}")

    assert (answer.status, answer.success) == (200, True)


async def test_a_receiver_that_hangs_is_given_up(settings, receiver):
    released = asyncio.Event()
    receiver.answers.append(hang_until(released))
    sender = WebhookSender(settings.model_copy(update={"webhook_timeout_seconds": 0.05}))
    answer = await sender.send(receiver.url, {}, "{}")
    released.set()
    await sender.stop()

    assert (answer.status, answer.error, answer.refused) == (0, "no answer within 0.05 s", False)


async def test_a_body_that_never_ends_is_given_up_too(settings, receiver):
    released = asyncio.Event()

    async def slow(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        await released.wait()
        return response

    receiver.answers.append(slow)
    sender = WebhookSender(settings.model_copy(update={"webhook_timeout_seconds": 0.05}))
    answer = await sender.send(receiver.url, {}, "{}")
    released.set()
    await sender.stop()

    assert (answer.status, answer.error) == (0, "no answer within 0.05 s")


async def test_a_closed_port_is_told_without_the_url(sender):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    answer = await sender.send(f"http://127.0.0.1:{port}/secret-path?token=secret", {}, "{}")

    assert answer.status == 0
    assert answer.error.startswith("no connection: ")
    assert "secret" not in answer.error


async def test_a_name_that_does_not_resolve_is_told(monkeypatch, sender):
    def unknown(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    answer = await sender.send("http://nowhere.example/secret", {}, "{}")

    assert answer.error == "the host cannot be resolved: Name or service not known"


async def test_a_receiver_that_speaks_no_http_is_told(sender):
    async def talk(reader, writer):
        await reader.read(10)
        writer.write(b"SSH-2.0-server\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        answer = await sender.send(f"http://127.0.0.1:{port}/", {}, "{}")

    assert answer.status == 0
    assert answer.error.startswith("no answer: ")


async def test_a_certificate_of_an_unknown_authority_is_refused(sender, self_signed):
    url, _ = self_signed
    answer = await sender.send(url, {}, "{}")

    assert answer.status == 0
    assert answer.error.startswith("the certificate is not accepted: ")


async def test_an_authority_of_ones_own_can_be_set(settings, self_signed):
    url, ca_file = self_signed
    sender = WebhookSender(settings.model_copy(update={"webhook_ca_file": ca_file}))
    answer = await sender.send(url, {}, "{}")
    await sender.stop()

    assert (answer.status, answer.error) == (200, "")


NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("9" * 50, 999_999_999),
        (formatdate(NOW + 1000, usegmt=True), 1000),
        (formatdate(0, usegmt=True), 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(monkeypatch, text, seconds):
    monkeypatch.setattr(delivery, "time", SimpleNamespace(time=lambda: NOW))

    assert delivery._retry_after_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "¹", "Mon, 99 Foo 2020 00:00:00 GMT"])
def test_anything_else_says_nothing(text):
    assert delivery._retry_after_seconds(text) is None


@pytest.fixture
async def self_signed(tmp_path):
    """URL of an HTTPS receiver on this machine, and the file with its certificate."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain = tmp_path / "receiver.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = tmp_path / "receiver.key"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, private)

    async def thanks(_request):
        return web.Response(text="thanks")

    app = web.Application()
    app.router.add_post("/", thanks)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}/", str(chain)
    await runner.cleanup()
