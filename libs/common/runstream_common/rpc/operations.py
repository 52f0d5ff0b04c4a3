"""What an operator asks of a service: status, dead letters and a look at the events."""

from __future__ import annotations

import contextlib
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog
from runstream_proto.common.v1 import operations_service_pb2 as pb
from runstream_proto.common.v1 import operations_service_pb2_grpc
from runstream_proto.common.v1.position_pb2 import Watermark

from runstream_common.errors import InvalidArgument, PlatformError
from runstream_common.rpc.actor import actor_of
from runstream_common.rpc.consume_events import consume_events, require_name
from runstream_common.rpc.events import event_answer
from runstream_common.rpc.server import Registration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    import grpc

    from runstream_common.bus.api import Bus
    from runstream_common.bus.dead_letter_headers import DeadLetter
    from runstream_common.bus.subscription import SubscriptionStatus
    from runstream_common.health import Health

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["OperationsService"].full_name
log = structlog.get_logger(__name__)

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
DEFAULT_REPLAY = 1000
MAX_REPLAY = 10_000
MAX_LOGGED_IDS = 100

ScopeWatermarks: TypeAlias = "Callable[[], Awaitable[Mapping[str, int]]]"

_STATES = {
    "starting": pb.SUBSCRIPTION_STATE_UNSPECIFIED,
    "running": pb.SUBSCRIPTION_STATE_RUNNING,
    "retrying": pb.SUBSCRIPTION_STATE_RETRYING,
    "stopped": pb.SUBSCRIPTION_STATE_STOPPED,
}


class OperationsServicer(operations_service_pb2_grpc.OperationsServiceServicer):
    """Answers from the bus and the health checks of this process.

    Args:
        service: name of the service, such as ``metadata``.
        scope_watermarks: asked for the scopes that were written last, such as ``experiment/3``, with the time up to
            which they are written (ms since the epoch), newest first; None for a service without any.
    """

    def __init__(
        self, bus: Bus, health: Health, *, service: str, scope_watermarks: ScopeWatermarks | None = None
    ) -> None:
        self._bus = bus
        self._scope_watermarks = scope_watermarks
        self._health = health
        self._service = service
        self._version = _version_of(f"runstream-{service}")
        self._started_ms = time.time_ns() // 1_000_000

    async def GetStatus(  # noqa: N802 - gRPC's own naming
        self, request: pb.GetStatusRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetStatusResponse:
        """Checks, lag and watermarks."""
        del request, context
        readiness = await self._health.readiness()
        return pb.GetStatusResponse(
            service=self._service,
            version=self._version,
            topology=self._bus.topology,
            start_time_ms=self._started_ms,
            server_time_ms=time.time_ns() // 1_000_000,
            checks=[
                pb.CheckResult(name=name, ok=result.ok, detail=result.detail)
                for name, result in sorted(readiness.checks.items())
            ],
            subscriptions=[await self._subscription(status) for status in self._bus.subscriptions()],
            scope_watermarks=await self._scopes(),
            bus_size_bytes=await self._bus_size(),
        )

    async def ListDeadLetters(  # noqa: N802
        self, request: pb.ListDeadLettersRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListDeadLettersResponse:
        """One page, group by group."""
        del context
        require_name("topic", request.topic)
        if request.group:
            require_name("group", request.group)
        size = _bounded("page_size", request.page_size, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        groups = [request.group] if request.group else await self._bus.dead_letter_groups(request.topic)
        group, after = _read_token(request.page_token, groups)
        answer = pb.ListDeadLettersResponse()
        for name in groups[groups.index(group) :] if group else groups:
            wanted = size - len(answer.dead_letters)
            found = await self._bus.list_dead_letters(
                request.topic, name, limit=wanted + 1, after=after if name == group else None
            )
            answer.dead_letters.extend(_letter(letter, with_value=False) for letter in found[:wanted])
            if len(found) > wanted:
                last = found[wanted - 1].id if wanted else ""
                answer.next_page_token = f"{name}/{last}"
                break
        return answer

    async def GetDeadLetter(  # noqa: N802
        self, request: pb.GetDeadLetterRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetDeadLetterResponse:
        """One letter with its value. Raises NotFound."""
        del context
        for field in ("topic", "group", "id"):
            require_name(field, getattr(request, field))
        letter = await self._bus.get_dead_letter(request.topic, request.group, request.id)
        return pb.GetDeadLetterResponse(dead_letter=_letter(letter, with_value=True))

    async def ReplayDeadLetters(  # noqa: N802
        self, request: pb.ReplayDeadLettersRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ReplayDeadLettersResponse:
        """Send letters to their group once more."""
        del context
        require_name("topic", request.topic)
        require_name("group", request.group)
        limit = _bounded("limit", request.limit, DEFAULT_REPLAY, MAX_REPLAY)
        count = await self._bus.replay_dead_letters(
            request.topic, request.group, ids=list(request.ids), limit=limit
        )
        return pb.ReplayDeadLettersResponse(replayed_count=count)

    async def DiscardDeadLetters(  # noqa: N802
        self, request: pb.DiscardDeadLettersRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DiscardDeadLettersResponse:
        """Forget letters, and note in the log who wanted that."""
        require_name("topic", request.topic)
        require_name("group", request.group)
        if bool(request.ids) == request.all:
            raise InvalidArgument.of("ids", "name the messages to discard, or set all")
        limit = _bounded("limit", request.limit, DEFAULT_REPLAY, MAX_REPLAY)
        count = await self._bus.discard_dead_letters(
            request.topic, request.group, ids=list(request.ids), limit=limit
        )
        log.info(
            "dead_letters_discarded",
            topic=request.topic,
            group=request.group,
            ids=list(request.ids[:MAX_LOGGED_IDS]),
            count=count,
            actor=actor_of(context.invocation_metadata()),
        )
        return pb.DiscardDeadLettersResponse(discarded_count=count)

    async def TailEvents(  # noqa: N802
        self, request: pb.TailEventsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.TailEventsResponse]:
        """Events as they arrive, until the client ends the call."""
        del context
        require_name("topic", request.topic)
        async for message in self._bus.tail(request.topic, from_beginning=request.from_beginning):
            yield event_answer(message)

    async def ConsumeEvents(  # noqa: N802
        self,
        requests: AsyncIterator[pb.ConsumeEventsRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[pb.ConsumeEventsResponse]:
        """Events under a durable group, each settled before the next, until the client ends the call."""
        del context
        async with contextlib.aclosing(consume_events(self._bus, aiter(requests))) as answers:
            async for answer in answers:
                yield answer

    async def DeleteConsumerGroup(  # noqa: N802
        self, request: pb.DeleteConsumerGroupRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DeleteConsumerGroupResponse:
        """Forget a group that is not the platform's own. Raises NotFound, FailedPrecondition, PermissionDenied."""
        del context
        for field in ("topic", "group"):
            require_name(field, getattr(request, field))
        await self._bus.delete_group(request.topic, request.group)
        return pb.DeleteConsumerGroupResponse()

    async def _subscription(self, status: SubscriptionStatus) -> pb.SubscriptionStatus:
        return pb.SubscriptionStatus(
            topic=status.topic,
            group=status.group,
            state=_STATES[status.state],
            reason=status.reason,
            lag_messages=sum(status.lag_messages.values()),
            watermarks=_watermarks(status),
            dead_letter_count=await self._parked(status),
        )

    async def _scopes(self) -> list[pb.ScopeWatermark]:
        if self._scope_watermarks is None:
            return []
        try:
            written = await self._scope_watermarks()
        except PlatformError:
            # As for dead letters: the checks tell that the database is away.
            return []
        return [
            pb.ScopeWatermark(scope=scope, written_up_to_ms=time_ms) for scope, time_ms in written.items()
        ]

    async def _bus_size(self) -> int | None:
        try:
            return await self._bus.size_bytes()
        except PlatformError:
            # As for dead letters.
            return None

    async def _parked(self, status: SubscriptionStatus) -> int:
        try:
            return await self._bus.count_dead_letters(status.topic, status.group)
        except PlatformError:
            # The status of a service whose bus is away must still be told; the checks say that it is.
            return 0


def operations_registration(
    bus: Bus, health: Health, *, service: str, scope_watermarks: ScopeWatermarks | None = None
) -> Registration:
    """Operations, ready to be given to ``build_server``; arguments as for ``OperationsServicer``."""
    return Registration(
        name=SERVICE_NAME,
        add=operations_service_pb2_grpc.add_OperationsServiceServicer_to_server,
        servicer=OperationsServicer(bus, health, service=service, scope_watermarks=scope_watermarks),
    )


def _watermarks(status: SubscriptionStatus) -> Sequence[Watermark]:
    marks = []
    for partition in sorted({*status.applied, *status.lag_messages}):
        applied = status.applied.get(partition)
        marks.append(
            Watermark(
                topic=status.topic,
                partition=partition,
                applied_offset=applied.next_offset if applied else 0,
                applied_time_ms=applied.time_ms if applied else 0,
                lag_messages=status.lag_messages.get(partition),
            )
        )
    return marks


def _letter(letter: DeadLetter, *, with_value: bool) -> pb.DeadLetter:
    original = letter.message
    return pb.DeadLetter(
        id=letter.id,
        topic=letter.topic,
        group=letter.group,
        partition=original.partition,
        offset=original.offset,
        key=original.key,
        reason=letter.reason,
        detail=letter.error,
        attempts=letter.attempts,
        parked_time_ms=letter.parked_at_ms,
        headers=original.headers,
        value_size_bytes=len(original.value),
        value=original.value if with_value else b"",
    )


def _read_token(token: str, groups: Sequence[str]) -> tuple[str, str | None]:
    """The group and letter that the page before ended with."""
    if not token:
        return "", None
    group, separator, last = token.rpartition("/")
    if not separator or group not in groups:
        raise InvalidArgument.of("page_token", "is not a token of this list")
    return group, last or None


def _bounded(field: str, value: int, default: int, most: int) -> int:
    if value < 0 or value > most:
        raise InvalidArgument.of(field, f"must be between 0 and {most}, got {value}")
    return value or default


def _version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
