"""What the services say of themselves: readiness, lag, watermarks, parked messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct
from runstream_common.errors import NotFound, PlatformError
from runstream_proto.common.v1 import operations_service_pb2 as pb

from runstream_gateway.control.messages import answer_of, enum_name, value_of
from runstream_gateway.control.values import Count, GroupName, TimeMs, TopicName

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends

STATUS_TIMEOUT_SECONDS: Final = 5.0
"""A service that does not answer by then counts as away: the others' state is not held up for it."""

_STATE_PREFIX: Final = "SUBSCRIPTION_STATE_"

State: TypeAlias = Literal["UNSPECIFIED", "RUNNING", "RETRYING", "STOPPED"]


class Check(Struct, frozen=True):
    """A readiness check."""

    name: str
    ok: bool
    detail: Annotated[str, Meta(description="What is wrong; empty when the check passes")]


class PartitionWatermark(Struct, frozen=True):
    """How far a group has handled one partition."""

    partition: int
    applied_offset: int
    applied_time_ms: TimeMs
    lag_messages: int | None = None


class Subscription(Struct, frozen=True):
    """A consumer group of a topic."""

    topic: TopicName
    group: GroupName
    state: State
    reason: Annotated[str, Meta(description="Why it retries or stopped; empty while it runs")]
    lag_messages: Annotated[int, Meta(description="Messages not yet handled, over all partitions")]
    dead_letter_count: Count
    watermarks: list[PartitionWatermark]


class ScopeWatermark(Struct, frozen=True):
    """Everything of a scope, such as `experiment/3`, that was accepted up to the time is queryable."""

    scope: str
    written_up_to_ms: TimeMs


class ServiceStatus(Struct, frozen=True, kw_only=True):
    """State of one service; without a version it could not be asked."""

    name: str
    ready: Annotated[bool, Meta(description="Answers, its checks pass and no subscription has stopped")]
    error: Annotated[str, Meta(description="Why it could not be asked; empty when it was")] = ""
    version: str = ""
    topology: Annotated[str, Meta(description="`embedded` or `kafka`")] = ""
    start_time_ms: TimeMs = 0
    server_time_ms: TimeMs = 0
    bus_size_bytes: Annotated[
        int | None, Meta(description="What the messages take in the database; null on Kafka")
    ] = None
    checks: list[Check] = []
    subscriptions: list[Subscription] = []
    scope_watermarks: list[ScopeWatermark] = []


class SystemStatus(Struct, frozen=True):
    """State of the deployment."""

    ready: Annotated[bool, Meta(description="Whether every service is ready")]
    services: list[ServiceStatus]

    @property
    def topology(self) -> str:
        """ "embedded" or "kafka", of whichever service answers; empty when none does."""
        return next((service.topology for service in self.services if service.topology), "")

    @property
    def bus_size_bytes(self) -> int | None:
        """What the bus takes; None when nobody knows."""
        sizes = [s.bus_size_bytes for s in self.services if s.bus_size_bytes is not None]
        return max(sizes, default=None)

    @property
    def subscriptions(self) -> list[Subscription]:
        """Of all services."""
        return [item for service in self.services for item in service.subscriptions]

    @property
    def dead_letter_count(self) -> int:
        """Parked messages of the services' own groups."""
        return sum(item.dead_letter_count for item in self.subscriptions)

    @property
    def lag_messages(self) -> int:
        """Messages that the services' own groups have not handled."""
        return sum(item.lag_messages for item in self.subscriptions)


class Statuses:
    """Asks every service at once."""

    def __init__(self, backends: Backends) -> None:
        self._operations = backends.operations

    async def all(self) -> SystemStatus:
        """Every service; one that cannot be reached is part of the answer."""
        services = list(await asyncio.gather(*(self._one(name) for name in self._operations)))
        return SystemStatus(ready=all(service.ready for service in services), services=services)

    async def one(self, name: str) -> ServiceStatus:
        """One service.

        Raises:
            NotFound: the deployment has none of that name.
        """
        if name not in self._operations:
            raise NotFound(f"there is no service {name!r}", reason="SERVICE_NOT_FOUND")
        return await self._one(name)

    async def _one(self, name: str) -> ServiceStatus:
        call = self._operations[name].GetStatus(pb.GetStatusRequest(), timeout=STATUS_TIMEOUT_SECONDS)
        try:
            answer = await answer_of(call)
        except PlatformError as error:
            return ServiceStatus(name=name, ready=False, error=error.message)
        return _status(name, answer)


def _status(name: str, answer: pb.GetStatusResponse) -> ServiceStatus:
    subscriptions = [
        value_of(item, Subscription, state=enum_name(item.state, pb.SubscriptionState, _STATE_PREFIX))
        for item in answer.subscriptions
    ]
    ready = all(check.ok for check in answer.checks) and all(
        item.state != "STOPPED" for item in subscriptions
    )
    return value_of(answer, ServiceStatus, name=name, ready=ready, subscriptions=subscriptions)
