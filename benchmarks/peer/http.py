"""A thin keep-alive JSON client, so that the peer is measured and not its own client library."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

REST = "/api/2.0/mlflow/"
AJAX = "/ajax-api/2.0/mlflow/"
_TIMEOUT_SECONDS = 300.0  # a whole history in one answer takes the peer tens of seconds


class PeerError(RuntimeError):
    """The peer refused a request, so the measurement is worth nothing."""


class PeerClient:
    """One connection to the peer; not for use by two threads at once."""

    def __init__(self, host: str, port: int) -> None:
        """Prepare a connection; it opens with the first request."""
        self._connection = HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)

    def post(self, endpoint: str, body: Mapping[str, Any] | bytes) -> dict[str, Any]:
        """Send a REST call, `body` as a mapping or as JSON that is encoded already.

        Raises:
            PeerError: the answer is not 200.
        """
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._call("POST", REST + endpoint, data)

    def get(self, endpoint: str, query: Mapping[str, str | int], prefix: str = REST) -> dict[str, Any]:
        """Read an endpoint of the REST API, or of the web UI's own with `prefix=AJAX`.

        Raises:
            PeerError: the answer is not 200.
        """
        return self._call("GET", f"{prefix}{endpoint}?{urlencode(query)}", None)

    def timed_post(self, endpoint: str, body: bytes) -> float:
        """Send an encoded REST call and return how long the answer took, in seconds."""
        started = time.perf_counter()
        self.post(endpoint, body)
        return time.perf_counter() - started

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _call(self, method: str, target: str, data: bytes | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"} if data is not None else {}
        self._connection.request(method, target, data, headers)
        response = self._connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise PeerError(f"{method} {target[:200]}: HTTP {response.status}: {text[:500]!r}")
        answer: dict[str, Any] = json.loads(text)
        return answer


@contextmanager
def connect(host: str, port: int) -> Iterator[PeerClient]:
    """Open a client and close it afterwards."""
    client = PeerClient(host, port)
    try:
        yield client
    finally:
        client.close()
