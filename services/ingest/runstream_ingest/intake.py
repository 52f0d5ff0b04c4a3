"""The one path of a batch: decode, check, ask for the run, hand to the bus."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from runstream_common.bus.messages import CONTENT_TYPE, EVENT_ID, EVENT_TYPE, Position
from runstream_common.bus.topics import RUN_LOGGED
from runstream_common.clock import Clock
from runstream_common.errors import InvalidArgument
from runstream_contract.columns import MalformedBatch, decode
from runstream_contract.limits import MAX_MESSAGE_BYTES
from runstream_proto.events.v1.run_logged_columns_pb2 import RunLoggedColumns

from runstream_ingest.run_states import RunStates
from runstream_ingest.validation import check_batch

ACCEPTED_AT_HEADER = "accepted-at-ms"


class Publisher(Protocol):
    """The part of the bus that ingest uses."""

    def send(
        self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None
    ) -> asyncio.Future[Position]:
        """Hand a message to the bus; the result comes when it is durable.

        Raises:
            ResourceExhausted: at once, when too many bytes are in flight.
        """
        ...


@dataclass(frozen=True, slots=True)
class CheckedBatch:
    """A batch that passed every check.

    Attributes:
        run_id: run the points belong to.
        batch_id: UUID of the batch.
        point_count: points in it.
        data: the bytes as they came, forwarded unchanged.
    """

    run_id: str
    batch_id: str
    point_count: int
    data: bytes


def decode_message(data: bytes) -> RunLoggedColumns:
    """Read one message without checking what it says.

    Args:
        data: serialized LogMetricsRequest or StreamMetricsRequest.

    Raises:
        InvalidArgument: too large, or no such message.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise InvalidArgument.of("message", f"has {len(data)} bytes, at most {MAX_MESSAGE_BYTES} are allowed")
    try:
        return decode(data)
    except MalformedBatch as error:
        raise InvalidArgument.of("message", str(error), reason="MALFORMED_PROTOBUF") from error


def check(message: RunLoggedColumns, data: bytes) -> CheckedBatch:
    """Check a decoded message.

    Args:
        message: what decode_message returned.
        data: the bytes it came from.

    Raises:
        InvalidArgument: what is wrong, with field, key and index.
    """
    return CheckedBatch(message.run_id, message.batch_id, check_batch(message), data)


class Intake:
    """Takes checked batches to the bus."""

    def __init__(self, publisher: Publisher, runs: RunStates, clock: Clock) -> None:
        self._publisher = publisher
        self._runs = runs
        self._clock = clock

    async def require_run(self, batch: CheckedBatch) -> None:
        """Return when the batch's run takes points; see RunStates.require_active for what it raises."""
        if not self._runs.known_active(batch.run_id):
            await self._runs.require_active(batch.run_id)

    def note_active(self, run_id: str) -> None:
        """Take it from the caller that the run takes points."""
        self._runs.note_active(run_id)

    def forward(self, batch: CheckedBatch) -> asyncio.Future[Position]:
        """Hand the bytes to the bus as they came; the result comes when they are durable.

        Raises:
            ResourceExhausted: the bus has too many bytes in flight.
        """
        headers = {
            EVENT_ID: batch.batch_id,
            EVENT_TYPE: RUN_LOGGED.message,
            CONTENT_TYPE: RUN_LOGGED.content_types[0],
            ACCEPTED_AT_HEADER: str(self._clock.now_ms()),
        }
        return self._publisher.send(RUN_LOGGED.name, batch.run_id, batch.data, headers)
