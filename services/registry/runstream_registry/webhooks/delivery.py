"""Sends one signed call to a receiver, within strict limits, and says what came of it."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from runstream_registry.webhooks.addresses import AddressRefused, PublicResolver, public_socket

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_registry.settings import RegistrySettings

MAX_ANSWER_BYTES: Final = 2_000
"""Bytes of an answer that are read; whatever follows is not."""

MAX_ERROR_LENGTH: Final = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call.

    Args:
        status: HTTP status; 0 when there was no answer.
        body: start of the answer's body.
        error: why there was no answer, or why it was refused; else empty.
        duration_ms: from the start of the call to its end.
        retry_after_seconds: what the receiver asked for; None when it did not.
        refused: whether the call was not made because the address is not allowed.
    """

    status: int
    body: str
    error: str
    duration_ms: int
    retry_after_seconds: float | None = None
    refused: bool = False

    @property
    def success(self) -> bool:
        """Whether the receiver took it."""
        return 200 <= self.status < 300


class WebhookSender:
    """The HTTP client for webhooks, as a part of the service.

    It follows no redirects, reads no proxy from the environment, keeps no cookies, and connects to public addresses only,
    unless the settings allow others.
    """

    name = "webhook-sender"

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self.resolver = PublicResolver(allow_private=settings.webhook_allow_private_addresses)

    async def start(self) -> None:
        """Connects when first used."""

    async def stop(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
        await self.resolver.close()

    async def send(self, url: str, headers: Mapping[str, str], body: str) -> Answer:
        """Make one call; whatever goes wrong is told in the answer."""
        started = time.monotonic()
        session = self._open_session()
        try:
            async with session.post(
                url, data=body.encode(), headers=headers, allow_redirects=False
            ) as response:
                text = await _start_of_body(response)
                return _answered(response, text, _since_ms(started))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            refused = isinstance(_cause(error), AddressRefused)
            return Answer(0, "", self._reason(error), _since_ms(started), refused=refused)

    def _open_session(self) -> aiohttp.ClientSession:
        # Not before the first call: the client belongs to the event loop that runs then.
        if self._session is None:
            settings = self._settings
            private = settings.webhook_allow_private_addresses
            connector = aiohttp.TCPConnector(
                resolver=self.resolver,
                limit=0,  # the workers' slots are the limit
                ssl=_tls(settings.webhook_ca_file),
                socket_factory=None if private else public_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=settings.webhook_timeout_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "runstream-webhooks"},
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _reason(self, error: Exception) -> str:
        """Why there was no answer; not in the client's words, which may hold the URL, and with it a secret."""
        if isinstance(error, TimeoutError):
            return f"no answer within {self._settings.webhook_timeout_seconds:g} s"
        return _connection_problem(error)[:MAX_ERROR_LENGTH]


def _connection_problem(error: Exception) -> str:
    cause = _cause(error)
    if isinstance(cause, AddressRefused):
        return str(cause)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the host cannot be resolved: {cause.strerror or cause}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate is not accepted: {error.certificate_error}"
    if isinstance(cause, OSError):
        return f"no connection: {cause.strerror or type(cause).__name__}"
    return f"no answer: {type(error).__name__}"


def _tls(ca_file: str) -> ssl.SSLContext | bool:
    return ssl.create_default_context(cafile=ca_file) if ca_file else True


async def _start_of_body(response: aiohttp.ClientResponse) -> str:
    start = bytearray()
    while len(start) < MAX_ANSWER_BYTES:
        chunk = await response.content.read(MAX_ANSWER_BYTES - len(start))
        if not chunk:
            break
        start += chunk
    return start.decode("utf-8", "replace").replace("\0", "�")


def _answered(response: aiohttp.ClientResponse, text: str, duration_ms: int) -> Answer:
    error = "redirects are not followed" if 300 <= response.status < 400 else ""
    wait = _retry_after_seconds(response.headers.get("Retry-After", ""))
    return Answer(response.status, text, error, duration_ms, retry_after_seconds=wait)


def _retry_after_seconds(text: str) -> float | None:
    """The wait that a Retry-After header asks for (RFC 9110, 10.2.3): seconds or a date; None when it says neither."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None


def _cause(error: Any) -> Any:
    return getattr(error, "os_error", error)


def _since_ms(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


async def check_host(resolver: PublicResolver, host: str, port: int, *, timeout_seconds: float) -> str:
    """Why a host cannot be a receiver now; empty when it can.

    Names are resolved once more when a call is made, so this is for a clear refusal and not for safety.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            await resolver.resolve(host, port)
    except AddressRefused as refusal:
        return str(refusal)
    except TimeoutError:
        return f"the host was not resolved within {timeout_seconds:g} s"
    except (OSError, UnicodeError) as error:
        return f"the host cannot be resolved: {getattr(error, 'strerror', None) or error}"
    return ""
