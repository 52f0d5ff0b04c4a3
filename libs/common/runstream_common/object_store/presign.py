"""Signed URLs for S3: AWS Signature Version 4 in the query, with headers that the signature covers.

The ``minio`` client signs nothing but the host, so that its URLs would take any content of any size. What AWS documents as
"Authenticating Requests: Using Query Parameters" is followed here, with headers kept as headers: a checksum that is moved
into the query is not verified by S3.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from runstream_common.errors import InvalidArgument
from runstream_common.object_store.api import MAX_EXPIRES_SECONDS, SignedRequest
from runstream_common.object_store.keys import checked_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_common.clock import Clock

_ALGORITHM = "AWS4-HMAC-SHA256"


class Presigner:
    """Signs requests for the objects of one bucket.

    Args:
        bucket_url: what objects' URLs begin with, without the slash before the key.
        region: of the bucket.
        access_key: whose key signs.
        secret_key: the key.
        clock: for the date.
    """

    def __init__(
        self, bucket_url: str, *, region: str, access_key: str, secret_key: str, clock: Clock
    ) -> None:
        parts = urlsplit(bucket_url)
        self.bucket_url = bucket_url
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.netloc
        self._path = parts.path.rstrip("/")
        self._region = region
        self._access_key = access_key
        self._clock = clock
        # Deriving takes four hashes and holds for a day.
        self._signing_key = lru_cache(maxsize=2)(lambda day: _signing_key(secret_key, day, region))

    def sign(
        self,
        method: str,
        key: str,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        expires_seconds: int,
    ) -> SignedRequest:
        """A request that S3 accepts with exactly these headers.

        Args:
            method: ``PUT``, ``GET`` or ``HEAD``.
            key: of the object.
            headers: to be sent; lower-case names, printable ASCII values.
            query: what else the URL says.
            expires_seconds: 1 to ``MAX_EXPIRES_SECONDS``.
        """
        if not 1 <= expires_seconds <= MAX_EXPIRES_SECONDS:
            raise InvalidArgument.of("expires_seconds", f"must be 1 to {MAX_EXPIRES_SECONDS}")
        # The date has whole seconds: the request expires that much earlier.
        now_seconds = self._clock.now_ms() // 1000
        date = datetime.fromtimestamp(now_seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{date[:8]}/{self._region}/s3/aws4_request"
        lines, names = _canonical_headers({**headers, "host": self._host})
        full_query = {
            **query,
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self._access_key}/{scope}",
            "X-Amz-Date": date,
            "X-Amz-Expires": str(expires_seconds),
            "X-Amz-SignedHeaders": names,
        }
        pairs = "&".join(sorted(f"{_encoded(name)}={_encoded(value)}" for name, value in full_query.items()))
        path = f"{self._path}/{quote(checked_key(key))}"
        canonical = f"{method}\n{path}\n{pairs}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"{_ALGORITHM}\n{date}\n{scope}\n{digest}"
        signature = hmac.digest(self._signing_key(date[:8]), text.encode(), "sha256").hex()
        url = f"{self._origin}{path}?{pairs}&X-Amz-Signature={signature}"
        return SignedRequest(method, url, dict(headers), (now_seconds + expires_seconds) * 1000)


def _canonical_headers(headers: Mapping[str, str]) -> tuple[str, str]:
    lines = []
    for name in sorted(headers):
        value = headers[name]
        if not value.isascii() or not value.isprintable():
            raise InvalidArgument.of(name, "must be printable ASCII")
        lines.append(f"{name}:{' '.join(value.split())}\n")
    return "".join(lines), ";".join(sorted(headers))


# Names, algorithm, date and scope are the same in every URL of a batch.
@lru_cache(maxsize=256)
def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")


def _signing_key(secret_key: str, day: str, region: str) -> bytes:
    derived = f"AWS4{secret_key}".encode()
    for text in (day, region, "s3", "aws4_request"):
        derived = hmac.digest(derived, text.encode(), "sha256")
    return derived
