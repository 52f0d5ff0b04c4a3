"""What `runstream up` can be told."""

from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

DEFAULT_PORT = 5050
HTTP_PORT_DISTANCE = 50
"""The gateway's HTTP port lies this far below the stack's main one: 5000 beside 5050."""
ADMIN_PORT_DISTANCE = 10
"""Admin ports lie this far above the services' own: 5060 beside 5050."""


def default_data_dir() -> Path:
    """Where the embedded stack keeps its data unless told otherwise."""
    return platformdirs.user_data_path("runstream")


@dataclass(frozen=True, slots=True)
class StackOptions:
    """Choices for one embedded stack.

    Attributes:
        data_dir: folder of everything the stack stores.
        host: address the services listen on.
        port: the one address clients are given; the other services use the ports after it.
        kafka: bootstrap servers "host:port,…" to use instead of the PostgreSQL bus; None for the default.
        database_url: PostgreSQL to use instead of the embedded one; None for the default.
        object_store_url: S3 to use instead of the local artifacts folder; None for the default.
        log_format: "console" or "json", how services write their log.
    """

    data_dir: Path = field(default_factory=default_data_dir)
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    http_port: int | None = None
    kafka: str | None = None
    database_url: str | None = None
    object_store_url: str | None = None
    log_format: str = "console"

    @property
    def web_port(self) -> int:
        """Port of the gateway."""
        return self.port - HTTP_PORT_DISTANCE if self.http_port is None else self.http_port
