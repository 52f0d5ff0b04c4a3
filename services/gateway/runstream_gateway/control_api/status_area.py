"""State of the services and the topics of the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from runstream_gateway.control.statuses import ServiceStatus, Statuses, SystemStatus
from runstream_gateway.control.topics import TopicList, topic_list
from runstream_gateway.control_api.operations import Call, Operation

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends
    from runstream_gateway.control.values import Nothing


class ServiceAt(Struct, frozen=True):
    """A service."""

    service: Annotated[str, Meta(min_length=1, max_length=50, description="Such as `metadata`")]


def operations(backends: Backends) -> list[Operation]:
    """Operations of this area."""
    statuses = Statuses(backends)

    async def all_services(call: Call[Nothing, Nothing, Nothing]) -> SystemStatus:
        del call
        return await statuses.all()

    async def one_service(call: Call[ServiceAt, Nothing, Nothing]) -> ServiceStatus:
        return await statuses.one(call.at.service)

    async def topics(call: Call[Nothing, Nothing, Nothing]) -> TopicList:
        del call
        return topic_list()

    return [
        Operation(
            method="GET",
            path="/status",
            run=all_services,
            summary="Readiness, consumer lag, watermarks and dead letters of every service",
            tag="status",
            name="getStatus",
            answer=SystemStatus,
        ),
        Operation(
            method="GET",
            path="/status/{service}",
            run=one_service,
            summary="State of one service",
            tag="status",
            name="getServiceStatus",
            at=ServiceAt,
            answer=ServiceStatus,
        ),
        Operation(
            method="GET",
            path="/topics",
            run=topics,
            summary="Topics of the bus and what each carries",
            tag="events",
            name="listTopics",
            answer=TopicList,
        ),
    ]
