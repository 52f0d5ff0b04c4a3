"""Dead letters on Kafka.

A letter stays in its topic until retention removes it, so a replay and a discard append a marker that names the letter,
and the list leaves out what has a marker. A marker is younger than its letter, so it never goes first. The list
reads the whole topic, which the ratio limit and retention keep small.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from runstream_common.bus.dead_letter_headers import DeadLetter, read_dead_letter, replay_headers
from runstream_common.bus.messages import DEAD_LETTER_PREFIX, Message, Outgoing
from runstream_common.bus.subscription import dead_letter_topic
from runstream_common.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from runstream_common.bus.kafka_reader import KafkaReader

REPLAYED = DEAD_LETTER_PREFIX + "replayed"
"""Header of a marker: the id of the letter that was replayed or discarded."""


class KafkaDeadLetters:
    """Lists, replays and discards parked messages.

    Args:
        send: publishes a message; resolves when it is durable.
    """

    def __init__(self, reader: KafkaReader, send: Callable[[Outgoing], Awaitable[object]]) -> None:
        self._reader = reader
        self._send = send

    async def list(self, topic: str, group: str, *, limit: int, after: str | None) -> Sequence[DeadLetter]:
        """Parked messages, oldest first, behind the one named ``after``."""
        ids = await self._waiting(topic, group)
        start = ids.index(after) + 1 if after in ids else _first_behind(ids, after)
        return await self._read(topic, group, ids[start : start + limit])

    async def count(self, topic: str, group: str) -> int:
        """How many messages are parked."""
        return len(await self._waiting(topic, group))

    async def get(self, topic: str, group: str, letter_id: str) -> DeadLetter:
        """One parked message. Raises NotFound."""
        waiting = [name for name in await self._waiting(topic, group) if name == letter_id]
        for letter in await self._read(topic, group, waiting):
            return letter
        raise NotFound(f"no dead letter {letter_id} in {dead_letter_topic(topic, group)}")

    async def replay(self, topic: str, group: str, letter: DeadLetter) -> None:
        """Publish to the original topic for this group alone, then note it.

        A crash in between leaves the letter on the list; replaying it again changes nothing.
        """
        original = letter.message
        await self._send(
            Outgoing(topic, original.key, original.value, replay_headers(original.headers, group))
        )
        await self.discard(topic, group, letter)

    async def discard(self, topic: str, group: str, letter: DeadLetter) -> None:
        """Note that the letter is settled."""
        marker = Outgoing(dead_letter_topic(topic, group), letter.message.key, b"", {REPLAYED: letter.id})
        await self._send(marker)

    async def _waiting(self, topic: str, group: str) -> Sequence[str]:
        """The ids of what is parked; the values are not kept, since together they may not fit into memory."""
        waiting: dict[str, None] = {}
        with contextlib.suppress(NotFound):  # a group that never subscribed has no letters
            async for message in self._reader.read_to_end(dead_letter_topic(topic, group)):
                replayed = message.headers.get(REPLAYED)
                if replayed is None:
                    waiting[_id(message)] = None
                else:
                    waiting.pop(replayed, None)
        return list(waiting)

    async def _read(self, topic: str, group: str, ids: Sequence[str]) -> Sequence[DeadLetter]:
        wanted = set(ids)
        letters: list[DeadLetter] = []
        if wanted:
            async with contextlib.aclosing(
                self._reader.read_to_end(dead_letter_topic(topic, group))
            ) as messages:
                async for message in messages:
                    if _id(message) in wanted:
                        letters.append(read_dead_letter(_id(message), topic, group, message))
                    if len(letters) == len(wanted):
                        break
        return letters


def _id(message: Message) -> str:
    return f"{message.partition}:{message.offset}"


def _first_behind(ids: Sequence[str], after: str | None) -> int:
    """Where to go on when the letter that a page ended with was replayed meanwhile."""
    if after is None:
        return 0
    mark = _sort_key(after)
    return next((index for index, name in enumerate(ids) if _sort_key(name) > mark), len(ids))


def _sort_key(letter_id: str) -> tuple[int, int]:
    partition, _, offset = letter_id.partition(":")
    return (int(partition), int(offset)) if partition.isdecimal() and offset.isdecimal() else (-1, -1)
