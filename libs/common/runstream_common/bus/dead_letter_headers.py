"""The headers that tell where a parked message came from and why; the original ones stay as they were."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_common.bus.messages import DEAD_LETTER_PREFIX, TARGET_GROUP, Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_common.bus.messages import Rejected

MAX_ERROR_BYTES = 8 * 1024
"""Error texts may quote the input; a header must not grow with it."""

_TOPIC = DEAD_LETTER_PREFIX + "topic"
_PARTITION = DEAD_LETTER_PREFIX + "partition"
_OFFSET = DEAD_LETTER_PREFIX + "offset"
_GROUP = DEAD_LETTER_PREFIX + "group"
_REASON = DEAD_LETTER_PREFIX + "reason"
_ATTEMPTS = DEAD_LETTER_PREFIX + "attempts"
_TIMESTAMP = DEAD_LETTER_PREFIX + "timestamp-ms"
_FIRST_SEEN = DEAD_LETTER_PREFIX + "first-seen-ms"
_PARKED_AT = DEAD_LETTER_PREFIX + "parked-at-ms"
_ERROR = DEAD_LETTER_PREFIX + "error"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A parked message. ``id`` names it in list, show and replay."""

    id: str
    topic: str
    group: str
    reason: str
    error: str
    attempts: int
    first_seen_ms: int
    parked_at_ms: int
    message: Message
    """Key, value, headers and position as they were on the original topic."""


def parking_headers(rejected: Rejected, group: str, first_seen_ms: int) -> dict[str, str]:
    """The original headers plus the reason; error text is cut to MAX_ERROR_BYTES of UTF-8."""
    message = rejected.message
    return {
        **message.headers,
        _TOPIC: message.topic,
        _PARTITION: str(message.partition),
        _OFFSET: str(message.offset),
        _GROUP: group,
        _REASON: rejected.reason,
        _ATTEMPTS: str(rejected.attempts),
        _TIMESTAMP: str(message.timestamp_ms),
        _FIRST_SEEN: str(first_seen_ms),
        _PARKED_AT: str(time.time_ns() // 1_000_000),
        _ERROR: _storable(rejected.detail),
    }


def original_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers as they were before parking."""
    return {name: value for name, value in headers.items() if not name.startswith(DEAD_LETTER_PREFIX)}


def replay_headers(headers: Mapping[str, str], group: str) -> dict[str, str]:
    """The original headers, addressed to the one group that could not apply the message."""
    return {**original_headers(headers), TARGET_GROUP: group}


def read_dead_letter(letter_id: str, topic: str, group: str, parked: Message) -> DeadLetter:
    """The letter in a message of a dead-letter queue; fields that a foreign writer left out are empty."""
    headers = parked.headers
    original = Message(
        topic=headers.get(_TOPIC, topic),
        key=parked.key,
        value=parked.value,
        headers=original_headers(headers),
        partition=_number(headers.get(_PARTITION), 0),
        offset=_number(headers.get(_OFFSET), -1),
        timestamp_ms=_number(headers.get(_TIMESTAMP), parked.timestamp_ms),
    )
    return DeadLetter(
        id=letter_id,
        topic=original.topic,
        group=headers.get(_GROUP, group),
        reason=headers.get(_REASON, "UNKNOWN"),
        error=headers.get(_ERROR, ""),
        attempts=_number(headers.get(_ATTEMPTS), 0),
        first_seen_ms=_number(headers.get(_FIRST_SEEN), parked.timestamp_ms),
        parked_at_ms=_number(headers.get(_PARKED_AT), parked.timestamp_ms),
        message=original,
    )


def _storable(text: str) -> str:
    # An error may quote what no encoding takes (a lone surrogate) or no header (NUL); parking must not fail over it.
    encoded = text.encode(errors="replace")[:MAX_ERROR_BYTES]
    return encoded.decode(errors="ignore").replace("\x00", "\ufffd")


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.lstrip("-").isdecimal() else default
