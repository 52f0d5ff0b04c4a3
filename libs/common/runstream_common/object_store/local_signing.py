"""Signed, expiring URLs of the local store: HMAC-SHA256 over everything that a request may do.

The scheme follows AWS Signature Version 4's query form in what it covers (method, key, query, content headers, expiry),
without its credential scope: there is one secret, and no one but us signs.
"""

from __future__ import annotations

import base64
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from runstream_common.errors import InvalidArgument
from runstream_common.object_store.api import MAX_EXPIRES_SECONDS, SignedRequest
from runstream_common.object_store.keys import checked_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runstream_common.clock import Clock

URL_PREFIX = "/objects/"
"""Path under which keys are served."""
MIN_SECRET_BYTES = 32

_EXPIRES = "X-Expires"
_SIGNATURE = "X-Signature"
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_PUT_HEADERS = ("content-length", "content-type", "x-amz-checksum-sha256")
_PART_HEADERS = ("content-length", "x-amz-checksum-crc32")
OPEN_UPLOAD = "open-"
"""What the ids of uploads begin with whose parts may be anything: no header of theirs is signed."""


class UrlRefused(Exception):
    """A request is not one that we signed, or came too late."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Grant:
    """What a verified request may do."""

    key: str
    query: Mapping[str, str]
    """What the URL says beside expiry and signature."""

    @property
    def is_open_part(self) -> bool:
        """Whether it is a PUT of a part that may be anything."""
        return self.query.get("uploadId", "").startswith(OPEN_UPLOAD)


class UrlSigner:
    """Signs and verifies.

    Args:
        secret: at least ``MIN_SECRET_BYTES`` random bytes; whoever has it can read and write everything.
        clock: for the expiry.
    """

    def __init__(self, secret: bytes, clock: Clock) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise InvalidArgument.of("signing_secret", f"must have at least {MIN_SECRET_BYTES} bytes")
        self._secret = secret
        self._clock = clock

    def sign(
        self,
        method: str,
        key: str,
        *,
        base_url: str,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        expires_seconds: int,
    ) -> SignedRequest:
        """The request that ``verify`` accepts.

        Args:
            method: ``PUT`` or ``GET`` (which also serves HEAD).
            key: of the object.
            base_url: what comes before the path; not covered by the signature, so that a proxy may change it.
            headers: to be sent; lower-case names.
            query: what else the URL says.
            expires_seconds: 1 to ``MAX_EXPIRES_SECONDS``.
        """
        if not 1 <= expires_seconds <= MAX_EXPIRES_SECONDS:
            raise InvalidArgument.of("expires_seconds", f"must be 1 to {MAX_EXPIRES_SECONDS}")
        for name, value in headers.items():
            if not _PRINTABLE.fullmatch(value):
                raise InvalidArgument.of(name, "must be printable ASCII")
        expire_time_ms = self._clock.now_ms() + expires_seconds * 1000
        # Encoded once, for the signature and the URL; the characters that keys have need no encoding.
        encoded = urlencode(sorted([*query.items(), (_EXPIRES, str(expire_time_ms))]))
        signature = self._signature(
            method, checked_key(key), encoded, _signed_headers(method, query), headers
        )
        url = f"{base_url}{URL_PREFIX}{key}?{encoded}&{_SIGNATURE}={signature}"
        return SignedRequest(method, url, dict(headers), expire_time_ms)

    def verify(
        self, method: str, key: str, query: Iterable[tuple[str, str]], headers: Mapping[str, str]
    ) -> Grant:
        """What a request may do.

        Args:
            method: as received.
            key: as received, decoded.
            query: as received, decoded, repeated names included.
            headers: as received; looked up by lower-case name.

        Raises:
            UrlRefused: not signed by us, changed, or expired.
        """
        pairs = [(name, value) for name, value in query if name != _SIGNATURE]
        given = [value for name, value in query if name == _SIGNATURE]
        known = dict(pairs)
        asked = "GET" if method == "HEAD" else method
        # Every pair is encoded, so that a name that comes twice is another request.
        expected = self._signature(
            asked, key, urlencode(sorted(pairs)), _signed_headers(asked, known), headers
        )
        if len(given) != 1 or not hmac.compare_digest(given[0].encode(), expected.encode()):
            raise UrlRefused("SignatureDoesNotMatch", "The request differs from the one that was signed.")
        if self._clock.now_ms() >= int(known.pop(_EXPIRES)):
            raise UrlRefused("AccessDenied", "Request has expired")
        return Grant(checked_key(key), known)

    def _signature(
        self, method: str, key: str, query: str, names: tuple[str, ...], headers: Mapping[str, str]
    ) -> str:
        content = [f"{name}:{headers.get(name, '')}" for name in names]
        text = "\n".join([method, key, query, *content])
        digest = hmac.digest(self._secret, text.encode("utf-8", "surrogateescape"), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _signed_headers(method: str, query: Mapping[str, str]) -> tuple[str, ...]:
    if method != "PUT":
        return ()
    if "uploadId" not in query:
        return _PUT_HEADERS
    return () if query["uploadId"].startswith(OPEN_UPLOAD) else _PART_HEADERS
