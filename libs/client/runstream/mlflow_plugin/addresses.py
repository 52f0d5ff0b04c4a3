"""The tracking URI `runstream://…` and the gateway that it names."""

from __future__ import annotations

from urllib.parse import urlsplit

SCHEME = "runstream"
DEFAULT_PORT = 5000


def is_ours(uri: str | None) -> bool:
    """Whether a URI has our scheme."""
    return uri is not None and urlsplit(uri).scheme == SCHEME


def gateway_url(uri: str) -> str:
    """The gateway's HTTP address.

    Args:
        uri: ``runstream://host[:port][/prefix]``; the port is 5000 if not given. A URI of another scheme comes back as
            it is.

    Raises:
        ValueError: there is no host in it, or no sensible port.
    """
    parts = urlsplit(uri)
    if parts.scheme != SCHEME:
        return uri
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError(
            f"{uri!r} is no tracking URI; give runstream://host:port, such as runstream://localhost:5000"
        )
    netloc = parts.netloc if parts.port is not None else f"{parts.netloc.rstrip(':')}:{DEFAULT_PORT}"
    return f"http://{netloc}{parts.path.rstrip('/')}"


def grpc_address(target: str, url: str) -> str:
    """A listed gRPC target as this client reaches it.

    Args:
        target: ``host:port``; without a host it means the gateway's.
        url: the gateway's address.
    """
    if not target.startswith(":"):
        return target
    host = urlsplit(url).hostname or ""
    return f"[{host}]{target}" if ":" in host else f"{host}{target}"
