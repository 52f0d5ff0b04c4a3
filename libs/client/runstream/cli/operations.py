"""What an operator asks of the services: status, health, dead letters, events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2
from runstream_common.errors import PlatformError, Unimplemented
from runstream_proto.common.v1 import operations_service_pb2 as pb

from runstream.query.client_calls import METADATA, Call, StreamCall, method_path, ready
from runstream.query.client_sending import BlockingSender
from runstream.query.frames import time_of, time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.message import Message

OPERATIONS = pb.DESCRIPTOR.services_by_name["OperationsService"].full_name
STATUS_TIMEOUT_SECONDS = 5.0
MAX_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What one service of the deployment says of itself.

    Attributes:
        serving: answer of the gRPC health check.
        status: answer of OperationsService; None when it was not reached or does not serve it.
        error: why it was not reached; empty when it was.
    """

    name: str
    target: str
    serving: bool
    status: pb.GetStatusResponse | None
    error: str

    @property
    def ready(self) -> bool:
        """Whether it takes work: it serves, its checks pass and no subscription has stopped."""
        return self.serving and not self.problems()

    def problems(self) -> list[str]:
        """What is wrong, one line each."""
        if self.error:
            return [self.error]
        found = [] if self.serving else ["does not serve (gRPC health check)"]
        if self.status is None:
            return found
        found += [f"{check.name}: {check.detail or 'fails'}" for check in self.status.checks if not check.ok]
        return found + [
            f"{item.topic}.{item.group} stopped: {item.reason}"
            for item in self.status.subscriptions
            if item.state == pb.SUBSCRIPTION_STATE_STOPPED
        ]


class Operations(BlockingSender):
    """Operator's calls, to the service that is named."""

    def states(self) -> list[ServiceState]:
        """What every listed service says of itself; one that cannot be reached is part of the answer."""
        return [self._state(name, target) for name, target in sorted(self.deployment().targets.items())]

    def _state(self, name: str, target: str) -> ServiceState:
        try:
            health = self._ask(
                "/grpc.health.v1.Health/Check",
                health_pb2.HealthCheckRequest(),
                health_pb2.HealthCheckResponse,
                target,
            )
        except PlatformError as error:
            return ServiceState(name, target, serving=False, status=None, error=error.message)
        serving = health.status == health_pb2.HealthCheckResponse.SERVING
        try:
            status = self._ask(
                method_path(OPERATIONS, "GetStatus"), pb.GetStatusRequest(), pb.GetStatusResponse, target
            )
        except Unimplemented:
            status = None
        except PlatformError as error:
            return ServiceState(name, target, serving, None, error.message)
        return ServiceState(name, target, serving, status, "")

    def dead_letters(
        self, topic: str, group: str, limit: int, service: str = METADATA
    ) -> list[pb.DeadLetter]:
        """Parked messages, oldest first, without their values.

        Args:
            topic: topic without the deployment's prefix.
            group: consumer group; empty means every group of the topic.
            limit: at most this many.
            service: the service that consumes the topic.
        """
        letters: list[pb.DeadLetter] = []
        request = pb.ListDeadLettersRequest(topic=topic, group=group)
        while len(letters) < limit:
            request.page_size = min(limit - len(letters), MAX_PAGE_SIZE)
            page = self._ask_service("ListDeadLetters", request, pb.ListDeadLettersResponse, service)
            letters += page.dead_letters
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        return letters

    def dead_letter(self, topic: str, group: str, letter_id: str, service: str = METADATA) -> pb.DeadLetter:
        """One parked message with its value; raises NotFound."""
        request = pb.GetDeadLetterRequest(topic=topic, group=group, id=letter_id)
        answer = self._ask_service("GetDeadLetter", request, pb.GetDeadLetterResponse, service)
        letter: pb.DeadLetter = answer.dead_letter
        return letter

    def replay(self, topic: str, group: str, ids: Sequence[str], limit: int, service: str = METADATA) -> int:
        """Send parked messages to their group once more; returns how many.

        Args:
            topic: topic without the deployment's prefix.
            group: consumer group.
            ids: ids as listed; none mean all, up to the limit.
            limit: at most this many.
            service: the service that consumes the topic.
        """
        request = pb.ReplayDeadLettersRequest(topic=topic, group=group, ids=ids, limit=limit)
        count: int = self._ask_service(
            "ReplayDeadLetters", request, pb.ReplayDeadLettersResponse, service
        ).replayed_count
        return count

    def discard(self, topic: str, group: str, ids: Sequence[str], limit: int, service: str = METADATA) -> int:
        """Forget parked messages for good; returns how many. Arguments as for ``replay``."""
        request = pb.DiscardDeadLettersRequest(topic=topic, group=group, ids=ids, all=not ids, limit=limit)
        count: int = self._ask_service(
            "DiscardDeadLetters", request, pb.DiscardDeadLettersResponse, service
        ).discarded_count
        return count

    def events(
        self, topic: str, *, from_beginning: bool, service: str = METADATA
    ) -> Iterator[pb.TailEventsResponse]:
        """Events of a topic as they arrive, until the iterator is closed."""
        request = pb.TailEventsRequest(topic=topic, from_beginning=from_beginning)
        path = method_path(OPERATIONS, "TailEvents")
        return self._stream(
            ready(StreamCall(path, request, pb.TailEventsResponse.FromString, lambda a: a, service=service))
        )

    def delete_group(self, topic: str, group: str, service: str = METADATA) -> None:
        """Forget a consumer group that is not the platform's own; raises NotFound, FailedPrecondition.

        Args:
            topic: topic without the deployment's prefix.
            group: consumer group.
            service: the service to ask.
        """
        request = pb.DeleteConsumerGroupRequest(topic=topic, group=group)
        self._ask_service("DeleteConsumerGroup", request, pb.DeleteConsumerGroupResponse, service)

    def _ask(self, path: str, request: Message, answer: type[Message], target: str) -> Any:
        call: Call[Any] = Call(path, request, answer.FromString, lambda a: a, target=target)
        return self._run(_only(call))

    def _ask_service(self, method: str, request: Message, answer: type[Message], service: str) -> Any:
        path = method_path(OPERATIONS, method)
        call: Call[Any] = Call(path, request, answer.FromString, lambda a: a, service=service)
        return self._run(_only(call))


def _only(call: Call[Any]) -> Any:
    return (yield call)


def state_shape(state: ServiceState) -> dict[str, Any]:
    """One service as JSON."""
    status = state.status
    return {
        "name": state.name,
        "target": state.target,
        "ready": state.ready,
        "problems": state.problems(),
        "version": status.version if status else None,
        "topology": status.topology if status else None,
        "start_time": time_text(time_of(status.start_time_ms)) if status else None,
        "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in status.checks] if status else [],
        "subscriptions": [subscription_shape(item) for item in status.subscriptions] if status else [],
        "scope_watermarks": [
            {"scope": mark.scope, "written_up_to": time_text(time_of(mark.written_up_to_ms))}
            for mark in (status.scope_watermarks if status else ())
        ],
    }


def subscription_shape(item: pb.SubscriptionStatus) -> dict[str, Any]:
    """One subscription as JSON."""
    return {
        "topic": item.topic,
        "group": item.group,
        "state": state_name(item),
        "reason": item.reason,
        "lag_messages": item.lag_messages,
        "dead_letter_count": item.dead_letter_count,
        "watermarks": [
            {
                "partition": mark.partition,
                "applied_offset": mark.applied_offset,
                "applied_time": time_text(time_of(mark.applied_time_ms)) if mark.applied_time_ms else None,
                "lag_messages": mark.lag_messages if mark.HasField("lag_messages") else None,
            }
            for mark in item.watermarks
        ],
    }


def state_name(item: pb.SubscriptionStatus) -> str:
    """The state in one lower-case word; "starting" when it is not yet known."""
    if item.state == pb.SUBSCRIPTION_STATE_UNSPECIFIED:
        return "starting"
    return pb.SubscriptionState.Name(item.state).removeprefix("SUBSCRIPTION_STATE_").lower()


def letter_shape(letter: pb.DeadLetter) -> dict[str, Any]:
    """One parked message as JSON, without its value."""
    names = (
        "id",
        "topic",
        "group",
        "partition",
        "offset",
        "key",
        "reason",
        "detail",
        "attempts",
        "value_size_bytes",
    )
    return {
        **{name: getattr(letter, name) for name in names},
        "parked_time": time_text(time_of(letter.parked_time_ms)),
        "headers": dict(letter.headers),
    }
