"""Where services find the object store: signed requests may name no host."""

from __future__ import annotations

from urllib.parse import urlsplit


def host_of_target(target: str) -> str:
    """The host of a gRPC target, as URLs write it.

    Args:
        target: ``host:port``, or with a scheme such as ``dns:///host:port``.
    """
    address = target.rpartition("/")[2]
    if address.startswith("["):
        return address.partition("]")[0] + "]"
    return address.rpartition(":")[0] or address


def absolute(url: str, host: str) -> str:
    """The URL with a host.

    Args:
        url: ``http://:5072/…`` means the given host.
        host: as URLs write it.
    """
    parts = urlsplit(url)
    if parts.hostname:
        return url
    return parts._replace(netloc=f"{host}{parts.netloc}").geturl()
