"""What a query is before anyone sends it, so that the sync and the async client share all but the sending.

A *flow* is a generator: it yields `Call`s, is sent their answers, and returns the result. `Client` drives flows with
blocking stubs and `AsyncClient` with awaited ones; neither holds a rule of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from runstream_common.errors import DeadlineExceeded

from runstream.query.results import Position

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from runstream_proto.metadata.v1.run_service_pb2 import Freshness

T = TypeVar("T")

METADATA = "metadata"
DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request.

    Attributes:
        method: gRPC path, "/package.Service/Method".
        parse: the answer's bytes to its message.
        translate: the message to the result.
        service: name of the service for discovery.
        extra_seconds: time the server may wait before it starts, added to the deadline.
        target: "host:port" to ask instead of the service's discovered address.
    """

    method: str
    request: Message
    parse: Callable[[bytes], Any]
    translate: Callable[[Any], T]
    service: str = METADATA
    extra_seconds: float = 0.0
    target: str | None = None


@dataclass(frozen=True, slots=True)
class StreamCall(Call[T]):
    """A request with a stream of answers; `translate` is called for each."""


Flow: TypeAlias = Generator[Call[Any], Any, T]


def asked(call: Call[T]) -> Flow[T]:
    """A flow of one call, whose result is the call's."""
    answer: T = yield call
    return answer


def ready(value: T) -> Flow[T]:
    """A flow that needs no answer to have its result."""
    yield from ()
    return value


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing; an empty token means the last."""

    items: tuple[T, ...]
    next_page_token: str


class Paged(Protocol):
    """A request for one page of a listing."""

    page_token: str


class Writer(Protocol):
    """What knows how far it wrote, such as the run that is being logged."""

    def positions(self) -> Iterable[Position]:
        """Where its acknowledged points end."""
        ...


class Flushed(Protocol):
    """What a flush returned."""

    @property
    def positions(self) -> Iterable[Position]:
        """Where the acknowledged points end."""
        ...


WaitFor: TypeAlias = Iterable[Position] | Writer | Flushed | None


@dataclass(frozen=True, slots=True)
class Wait:
    """What must be applied before the answer is made.

    Attributes:
        positions: bus positions; none means no wait.
        seconds: how long to wait at most.
    """

    positions: tuple[Position, ...] = ()
    seconds: float = field(default=DEFAULT_WAIT_SECONDS)

    @property
    def milliseconds(self) -> int:
        """The same for a request; 0 would mean the server's default."""
        return max(1, round(self.seconds * 1000))


class NotCaughtUp(DeadlineExceeded):
    """The service had not yet applied what the caller wrote when the wait ended; asking again later helps."""

    default_reason = "NOT_CAUGHT_UP"


def checked(freshness: Freshness, wait: Wait) -> None:
    """Refuse an answer that lacks what was waited for.

    Raises:
        NotCaughtUp: the answer came before everything waited for was applied.
    """
    if wait.positions and not freshness.caught_up:
        raise NotCaughtUp(
            f"what was logged is not yet queryable after {wait.seconds:g} s; it is stored and will appear "
            "(`runstream status` shows the lag)",
            metadata={"written_up_to_ms": str(freshness.written_up_to_ms)},
        )


def method_path(service_full_name: str, method: str) -> str:
    """The gRPC path of a method."""
    return f"/{service_full_name}/{method}"
