"""Which addresses a webhook may lead to: public ones, judged by the address that is connected to.

A name is only a promise: it may resolve to something else a moment later. So the check is made where the socket is made,
and once more before, at the name, for a refusal that says why.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final

from aiohttp.abc import AbstractResolver, ResolveResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohappyeyeballs import AddrInfoType

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last four bytes are the IPv4 address that is meant."""

_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
"""RFC 8215: translation inside of one's own network."""

LOOKUPS_AT_ONCE: Final = 16
"""A lookup holds a thread until the resolver gives up, which may take many seconds; they are kept from the pool that
the rest of the process uses."""


class AddressRefused(OSError):
    """A name or URL leads to an address that webhooks must not reach."""

    def __init__(self, host: str, address: str) -> None:
        what = "" if host == address else f" ({host} resolves to it)"
        super().__init__(f"{address} is not a public address{what}")


def is_public(text: str) -> bool:
    """Whether an address belongs to the public internet.

    Private, loopback, link-local, shared (RFC 6598), multicast, reserved and documentation addresses do not; neither do
    IPv6 addresses that stand for such an IPv4 address (mapped, 6to4, NAT64).
    """
    address: IPv4Address | IPv6Address = ip_address(text)
    if isinstance(address, IPv6Address):
        embedded = _embedded(address)
        if embedded is None and (
            address.is_reserved or address.is_site_local or address in _LOCAL_NAT64 or address.scope_id
        ):
            return False
        address = embedded or address
    return address.is_global and not (address.is_multicast or address.is_unspecified)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


class PublicResolver(AbstractResolver):
    """Resolves names for the HTTP client; refuses those of which any address is not public.

    Args:
        allow_private: let every address pass.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="webhook-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            AddressRefused: one of them is not public.
            OSError: the name cannot be resolved.
        """
        addresses = await self._lookup(host, port, family)
        for _, address in addresses:
            if not self._allow_private and not is_public(address):
                raise AddressRefused(host, address)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=found_family,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, address in addresses
        ]

    async def close(self) -> None:
        """Start no more lookups; those under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _lookup(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> Sequence[tuple[socket.AddressFamily, str]]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        )
        return [(entry_family, str(address[0])) for entry_family, _, _, _, address in found]


def public_socket(info: AddrInfoType) -> socket.socket:
    """A socket for an address that is about to be connected to; the check that nothing gets around.

    Raises:
        AddressRefused: the address is not public.
    """
    family, kind, protocol, _, address = info
    host = str(address[0])
    if not is_public(host):
        raise AddressRefused(host, host)
    return socket.socket(family=family, type=kind, proto=protocol)
