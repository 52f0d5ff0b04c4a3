"""Webhooks reach public addresses only, whatever a name resolved to a moment ago."""

from __future__ import annotations

import socket

import aiohttp
import pytest
from runstream_registry.webhooks.addresses import AddressRefused, PublicResolver, is_public
from runstream_registry.webhooks.delivery import WebhookSender, check_host


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"],
)
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.0.9",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.1.2.3",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:100.64.0.1",
        "::ffff:224.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::808:808",
        "2002:7f00:1::1",
        "2002:a00:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_other_addresses(address):
    assert not is_public(address)


def resolving_to(*addresses: str):
    """Stands in for the system's resolver: one answer a call, the last one for ever."""
    answers = list(addresses)

    def getaddrinfo(_host, port, **_options):
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    return getaddrinfo


@pytest.fixture
def careful(settings):
    """Settings as deployed: receivers on this machine are not allowed."""
    return settings.model_copy(update={"webhook_allow_private_addresses": False})


@pytest.fixture
async def sender(careful):
    sender = WebhookSender(careful)
    yield sender
    await sender.stop()


async def test_a_name_that_resolves_to_this_machine_is_refused(monkeypatch, sender, receiver):
    monkeypatch.setattr(socket, "getaddrinfo", resolving_to("127.0.0.1"))
    port = receiver.url.split(":")[2]

    answer = await sender.send(f"http://evil.example:{port}", {}, "{}")

    assert (answer.status, answer.refused) == (0, True)
    assert answer.error == "127.0.0.1 is not a public address (evil.example resolves to it)"
    assert receiver.calls == []


async def test_a_name_that_is_rebound_after_its_check_is_refused(monkeypatch, sender, receiver):
    monkeypatch.setattr(socket, "getaddrinfo", resolving_to("8.8.8.8", "127.0.0.1"))
    port = receiver.url.split(":")[2].partition("/")[0]

    checked = await check_host(sender.resolver, "evil.example", int(port), timeout_seconds=5)
    answer = await sender.send(f"http://evil.example:{port}/", {}, "{}")

    assert checked == ""
    assert (answer.status, answer.refused) == (0, True)
    assert receiver.calls == []


async def test_the_socket_is_refused_even_if_the_resolver_lets_it_pass(monkeypatch, sender, receiver):
    sender.resolver._allow_private = True

    monkeypatch.setattr(socket, "getaddrinfo", resolving_to("127.0.0.1"))
    port = receiver.url.split(":")[2]
    answer = await sender.send(f"http://evil.example:{port}", {}, "{}")

    assert (answer.status, answer.refused, receiver.calls) == (0, True, [])


async def test_an_address_in_the_url_is_refused(sender, receiver):
    answer = await sender.send(receiver.url, {}, "{}")

    assert (answer.status, answer.refused, receiver.calls) == (0, True, [])
    assert answer.error == "127.0.0.1 is not a public address"


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "localhost", "0"]
)
async def test_other_spellings_of_this_machine_are_refused(sender, receiver, host):
    port = receiver.url.split(":")[2]

    answer = await sender.send(f"http://{host}:{port}", {}, "{}")

    assert (answer.status, receiver.calls) == (0, [])


async def test_one_private_address_among_public_ones_is_enough(monkeypatch):
    def mixed(_host, port, **_options):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("8.8.8.8", "10.0.0.1")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", mixed)
    resolver = PublicResolver(allow_private=False)
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
        await resolver.resolve("both.example", 443)
    await resolver.close()


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch, settings, receiver, other_receiver):
    proxy = other_receiver.url.removesuffix("/hook")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    sender = WebhookSender(settings)
    answer = await sender.send(receiver.url, {}, "{}")
    await sender.stop()

    async with aiohttp.ClientSession(trust_env=True) as session:
        await session.post(receiver.url)
    assert (answer.status, len(receiver.calls)) == (200, 1)
    # The setting is in force: a client that heeds it goes there.
    assert len(other_receiver.calls) == 1
