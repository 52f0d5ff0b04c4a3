"""Topic ``run-logged``: metric points of runs, as protobuf or JSON. Decode, check, store."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from runstream_common.bus.messages import CONTENT_TYPE, EVENT_ID, Rejected
from runstream_contract.columns import MalformedBatch, decode
from runstream_contract.limits import MAX_MESSAGE_BYTES
from runstream_contract.names import is_run_id, is_uuid

from runstream_metadata import instruments, metric_batches
from runstream_metadata.consumers.run_logged_json import decode_json
from runstream_metadata.metric_batches import Batch, RefusedBatch
from runstream_metadata.store.metric_writer import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runstream_common.bus.messages import Message
    from runstream_proto.events.v1.run_logged_columns_pb2 import RunLoggedColumns

    from runstream_metadata.metric_intake import MetricIntake

TOPIC: Final = "run-logged"
PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
ACCEPTED_AT_HEADER: Final = "accepted-at-ms"
"""When ingest took the batch over; a producer on the bus has none, then the message's own time counts."""

_DERIVED_IDS: Final = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")
"""Namespace of ids made from a message's place (RFC 4122's for object identifiers)."""


class RunLoggedConsumer:
    """Handler of the topic."""

    def __init__(self, intake: MetricIntake) -> None:
        self._intake = intake

    async def handle(self, messages: Sequence[Message]) -> list[Rejected]:
        """Apply a batch of messages in one transaction; a bad one costs only itself.

        Returns:
            What can never be applied, with what to fix.
        """
        batches: dict[Batch, Message] = {}
        rejected = []
        for message in messages:
            try:
                batches[_read(message)] = message
            except RefusedBatch as error:
                rejected.append(Rejected(message, error.reason, error.detail))
        marks = _marks(messages)
        refused = await self._intake.apply(batches, marks)
        rejected.extend(
            Rejected(batches[batch], error.reason, error.detail) for batch, error in refused.items()
        )
        for mark in marks:
            labels = (mark.topic, str(mark.partition))
            instruments.APPLIED_OFFSET.labels(*labels).set(mark.applied_offset)
            instruments.APPLIED_TIME.labels(*labels).set(mark.applied_time_ms / 1000)
        return rejected


def _read(message: Message) -> Batch:
    if len(message.value) > MAX_MESSAGE_BYTES:
        raise RefusedBatch(
            metric_batches.TOO_LARGE,
            f"the message has {len(message.value)} bytes, at most {MAX_MESSAGE_BYTES} are allowed",
        )
    columns = _decode(message)
    metric_batches.check(columns.series)
    run_id = columns.run_id
    if not is_run_id(run_id):
        raise RefusedBatch(
            metric_batches.INVALID_RUN_ID,
            f"run_id: must be 32 lowercase hexadecimal characters, got {metric_batches.shown(run_id)}",
        )
    return Batch(_batch_id(message, columns.batch_id), run_id, columns.series, _accepted_ms(message))


def _decode(message: Message) -> RunLoggedColumns:
    content_type = message.headers.get(CONTENT_TYPE, PROTOBUF).partition(";")[0].strip().lower()
    if content_type == PROTOBUF:
        try:
            return decode(message.value)
        except MalformedBatch as error:
            raise RefusedBatch(
                metric_batches.MALFORMED_PROTOBUF,
                f"{error}; for JSON set the header content-type to {JSON}",
            ) from error
    if content_type == JSON:
        return decode_json(message.value)
    raise RefusedBatch(
        metric_batches.UNKNOWN_CONTENT_TYPE,
        f"header content-type: must be {PROTOBUF} or {JSON}, got {content_type!r}",
    )


def _batch_id(message: Message, given: str) -> uuid.UUID:
    """The id that makes redelivery harmless: the producer's, else the event's, else one made of the message's place."""
    if given:
        if not is_uuid(given):
            raise RefusedBatch(
                metric_batches.INVALID_BATCH_ID,
                f"batch_id: must be a UUID such as 0190163d-8694-739b-aea5-966c26f8ad91 or absent, got {given[:60]!r}",
            )
        return uuid.UUID(given)
    event_id = message.headers.get(EVENT_ID, "")
    if event_id:
        return uuid.UUID(event_id) if is_uuid(event_id) else uuid.uuid5(_DERIVED_IDS, f"event:{event_id}")
    place = f"{message.topic}:{message.partition}:{message.offset}:{message.timestamp_ms}"
    return uuid.uuid5(_DERIVED_IDS, place)


def _accepted_ms(message: Message) -> int:
    header = message.headers.get(ACCEPTED_AT_HEADER, "")
    return int(header) if header.isascii() and header.isdigit() and len(header) < 16 else message.timestamp_ms


def _marks(messages: Iterable[Message]) -> list[Mark]:
    marks: dict[tuple[str, int], Mark] = {}
    for message in messages:
        place = (message.topic, message.partition)
        known = marks.get(place)
        if known is None:
            marks[place] = Mark(*place, message.offset + 1, message.timestamp_ms)
        else:
            marks[place] = Mark(
                *place,
                max(known.applied_offset, message.offset + 1),
                max(known.applied_time_ms, message.timestamp_ms),
            )
    return list(marks.values())
