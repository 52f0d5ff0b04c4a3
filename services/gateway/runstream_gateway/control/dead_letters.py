"""Messages that a consumer group could not apply: read, sent once more, forgotten."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Struct
from runstream_common.bus.events import message_as_json
from runstream_common.bus.messages import Message
from runstream_proto.common.v1 import operations_service_pb2 as pb

from runstream_gateway.actors import metadata_of
from runstream_gateway.control.messages import answer_of, value_of
from runstream_gateway.control.values import Count, GroupName, NextPageToken, TimeMs, TopicName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_gateway.backends import Backends

ASKED_SERVICE: Final = "metadata"
"""Parked messages belong to the bus; any service that stands at it can be asked. This one consumes."""

MAX_JSON_BYTES: Final = 1024 * 1024
"""Larger values are shown as bytes alone: protobuf's JSON of them takes long and may be many times as large."""


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A message that could not be applied."""

    id: Annotated[str, Meta(description="Identity within topic and group: `<partition>:<offset>`")]
    topic: TopicName
    group: GroupName
    partition: int
    offset: int
    key: Annotated[str, Meta(description="Message key; for `run-logged` the run id")]
    reason: Annotated[str, Meta(description="Why, as a constant")]
    detail: Annotated[str, Meta(description="Why, in words that say what to fix")]
    attempts: Count
    parked_time_ms: TimeMs
    headers: dict[str, str]
    value_size_bytes: Count


class DeadLetterPage(Struct, frozen=True):
    """Parked messages without their values, oldest first."""

    dead_letters: list[DeadLetter]
    next_page_token: NextPageToken


class WholeDeadLetter(Struct, frozen=True):
    """A parked message with its value."""

    dead_letter: DeadLetter
    value_base64: str
    value_json: Annotated[str, Meta(description="The value as JSON text where it has that form; else empty")]


class Replayed(Struct, frozen=True):
    """How many messages were sent to their group once more."""

    replayed_count: Count


class Discarded(Struct, frozen=True):
    """How many messages were forgotten."""

    discarded_count: Count


class DeadLetters:
    """Calls about parked messages."""

    def __init__(self, backends: Backends) -> None:
        self._operations = backends.operations[ASKED_SERVICE]
        self._timeout = backends.timeout_seconds

    async def page(
        self, topic: str, group: str = "", *, page_size: int = 100, page_token: str = ""
    ) -> DeadLetterPage:
        """One page of a topic's parked messages; of every group when none is named."""
        request = pb.ListDeadLettersRequest(
            topic=topic, group=group, page_size=page_size, page_token=page_token
        )
        answer = await answer_of(self._operations.ListDeadLetters(request, timeout=self._timeout))
        return DeadLetterPage(
            [value_of(letter, DeadLetter) for letter in answer.dead_letters], answer.next_page_token
        )

    async def get(self, topic: str, group: str, letter_id: str) -> WholeDeadLetter:
        """One parked message with its value."""
        request = pb.GetDeadLetterRequest(topic=topic, group=group, id=letter_id)
        answer = await answer_of(self._operations.GetDeadLetter(request, timeout=self._timeout))
        letter = answer.dead_letter
        return WholeDeadLetter(
            value_of(letter, DeadLetter), base64.b64encode(letter.value).decode(), _value_as_json(letter)
        )

    async def replay(self, topic: str, group: str, ids: Sequence[str], *, limit: int = 1_000) -> Replayed:
        """Send parked messages to their group once more; without ids all of them, up to the limit."""
        request = pb.ReplayDeadLettersRequest(topic=topic, group=group, ids=ids, limit=limit)
        answer = await answer_of(self._operations.ReplayDeadLetters(request, timeout=self._timeout))
        return Replayed(answer.replayed_count)

    async def discard(
        self, topic: str, group: str, ids: Sequence[str], *, actor: str, limit: int = 1_000
    ) -> Discarded:
        """Forget parked messages for good; without ids all of them, up to the limit."""
        request = pb.DiscardDeadLettersRequest(topic=topic, group=group, ids=ids, all=not ids, limit=limit)
        call = self._operations.DiscardDeadLetters(
            request, timeout=self._timeout, metadata=metadata_of(actor)
        )
        return Discarded((await answer_of(call)).discarded_count)


def _value_as_json(letter: pb.DeadLetter) -> str:
    if len(letter.value) > MAX_JSON_BYTES:
        return ""
    message = Message(
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        key=letter.key,
        value=letter.value,
        headers=dict(letter.headers),
        timestamp_ms=letter.parked_time_ms,
    )
    return message_as_json(message)
