"""Which transport a bus URL means."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runstream_common.bus.api import Bus
from runstream_common.bus.topics import TOPICS
from runstream_common.errors import FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.bus.topics import Topic
    from runstream_common.bus.transport import Transport
    from runstream_common.settings import BusSettings

DEFAULT_KAFKA_PORT = 9092


def build_bus(settings: BusSettings, topics: Sequence[Topic] = TOPICS) -> Bus:
    """The bus that ``RUNSTREAM_BUS_URL`` names. Call with a running event loop.

    Raises:
        FailedPrecondition: the URL names no broker.
    """
    return Bus(_transport(settings), settings, topics)


def _transport(settings: BusSettings) -> Transport:
    # Imported here: a process loads only the client of the transport that it uses.
    url = settings.bus_url.get_secret_value()
    if urlsplit(url).scheme == "kafka":
        from runstream_common.bus.kafka import KafkaTransport  # noqa: PLC0415

        return KafkaTransport(_bootstrap(url), settings)
    from runstream_common.bus.postgres import PostgresTransport  # noqa: PLC0415

    return PostgresTransport(url, settings)


def _bootstrap(url: str) -> list[str]:
    servers = [server.strip() for server in urlsplit(url).netloc.split(",") if server.strip()]
    if not servers:
        raise FailedPrecondition(
            "RUNSTREAM_BUS_URL names no broker; it looks like kafka://host:port,host:port",
            reason="BUS_URL_INVALID",
        )
    return [server if ":" in server else f"{server}:{DEFAULT_KAFKA_PORT}" for server in servers]
