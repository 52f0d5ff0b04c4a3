"""What a transport does; the bus is written against this and knows neither Kafka nor PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from runstream_common.bus.consuming import EventSource
    from runstream_common.bus.dead_letter_headers import DeadLetter
    from runstream_common.bus.messages import Backlog, Message, Outgoing, Position
    from runstream_common.bus.subscription import Subscription
    from runstream_common.bus.topics import Topic


class Transport(Protocol):
    """One way to carry messages. Names of topics and groups are without the deployment's prefix."""

    @property
    def topology(self) -> str:
        """``kafka`` or ``embedded``, as status calls report it."""
        ...

    async def start(self, topics: Sequence[Topic], subscriptions: Sequence[Subscription]) -> None:
        """Connect, create what is missing, and start handling. Raises Unavailable."""
        ...

    async def stop_subscriptions(self) -> None:
        """Let the batches in hand finish, commit them and handle no more."""
        ...

    async def stop(self) -> None:
        """Send what is waiting to be sent, then disconnect."""
        ...

    async def ping(self) -> None:
        """Raise Unavailable when the bus does not answer."""
        ...

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        """Create the topics that do not exist; existing ones are left as they are."""
        ...

    def send(self, outgoing: Outgoing) -> asyncio.Future[Position]:
        """Start a publish. Raises ResourceExhausted at once; the future raises Unavailable or InvalidArgument."""
        ...

    def tail(self, topic: str, *, from_beginning: bool) -> AsyncIterator[Message]:
        """Follow a topic outside of any durable group."""
        ...

    def consume(
        self, topic: str, group: str, *, from_beginning: bool
    ) -> AbstractAsyncContextManager[EventSource]:
        """Join a durable group of consumers from outside; once entered, nothing that is published escapes the group.

        Raises, when entered: NotFound, PermissionDenied, Unavailable.
        """
        ...

    async def delete_group(self, topic: str, group: str) -> None:
        """Forget such a group. Raises NotFound, FailedPrecondition, Unavailable."""
        ...

    async def applied(self, group: str, positions: Sequence[Position]) -> bool:
        """Whether the group has handled everything up to the positions."""
        ...

    async def backlog(self, topic: str, group: str) -> Backlog:
        """How far the topic goes, and what of it the group has not handled. Raises Unavailable."""
        ...

    async def external_groups(self, topic: str) -> list[str]:
        """Groups of ``consume`` that may have dead letters of a topic."""
        ...

    async def list_dead_letters(
        self, topic: str, group: str, *, limit: int, after: str | None
    ) -> Sequence[DeadLetter]:
        """Parked messages, oldest first, behind the one named ``after``."""
        ...

    async def count_dead_letters(self, topic: str, group: str) -> int:
        """How many messages are parked."""
        ...

    async def get_dead_letter(self, topic: str, group: str, letter_id: str) -> DeadLetter:
        """One parked message. Raises NotFound."""
        ...

    async def replay_dead_letter(self, topic: str, group: str, letter: DeadLetter) -> None:
        """Send a parked message to its group again and take it off the list."""
        ...

    async def discard_dead_letter(self, topic: str, group: str, letter: DeadLetter) -> None:
        """Take a parked message off the list for good."""
        ...

    async def size_bytes(self) -> int | None:
        """Bytes that the messages take where they are kept; None when that cannot be asked."""
        ...
