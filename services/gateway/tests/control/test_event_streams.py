"""Many listeners of few tails: who gets what, and what they are told when something is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from runstream_common.errors import InvalidArgument, ResourceExhausted, Unavailable
from runstream_gateway.control import event_streams
from runstream_gateway.control.event_streams import Event, EventStreams, Missed
from runstream_proto.common.v1 import operations_service_pb2 as pb
from runstream_proto.common.v1.position_pb2 import BusPosition

PATIENCE_SECONDS = 30


class Tails:
    """Stands for OperationsService: a queue for each topic that is followed."""

    def __init__(self) -> None:
        self.open: dict[str, asyncio.Queue[pb.TailEventsResponse | None]] = {}
        self.began = 0

    async def TailEvents(  # noqa: N802 - gRPC's own naming
        self, request: pb.TailEventsRequest
    ) -> AsyncIterator[pb.TailEventsResponse]:
        self.began += 1
        queue = self.open[request.topic] = asyncio.Queue()
        try:
            while (answer := await queue.get()) is not None:
                yield answer
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details="gone"
            )
        finally:
            if self.open.get(request.topic) is queue:
                del self.open[request.topic]

    async def until(self, *topics: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while set(self.open) != set(topics):
                await asyncio.sleep(0)

    def publish(self, topic: str, key: str, json: str = "{}") -> None:
        position = BusPosition(topic=topic, partition=0, offset=1)
        self.open[topic].put_nowait(pb.TailEventsResponse(position=position, key=key, json=json, value=b"1"))


@pytest.fixture
def tails() -> Tails:
    return Tails()


@pytest.fixture
async def streams(tails: Tails) -> AsyncIterator[EventStreams]:
    backends: Any = SimpleNamespace(operations={event_streams.ASKED_SERVICE: tails})
    made = EventStreams(backends)
    yield made
    await made.stop()


async def keys(listener: event_streams.Listener, count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        news = await listener.take(PATIENCE_SECONDS)
        assert news, "nothing came"
        found += [item.key for item in news if isinstance(item, Event)]
    return found


async def test_all_listeners_of_a_topic_share_a_tail_that_ends_with_the_last(
    streams: EventStreams, tails: Tails
) -> None:
    with streams.listen(["run-changed"]) as one:
        with streams.listen(["run-changed", "model-changed"]) as two:
            await tails.until("run-changed", "model-changed")
            tails.publish("run-changed", "a")
            tails.publish("model-changed", "b")
            assert await keys(one, 1) == ["a"]
            assert sorted(await keys(two, 2)) == ["a", "b"]
        await tails.until("run-changed")
        assert tails.began == 2
    await tails.until()


async def test_a_slow_listener_loses_the_oldest_and_is_told_how_many(
    streams: EventStreams, tails: Tails
) -> None:
    lost = 7
    with streams.listen(["run-changed"]) as quick, streams.listen(["run-changed"]) as slow:
        await tails.until("run-changed")
        for number in range(event_streams.MAX_WAITING_EVENTS + lost):
            tails.publish("run-changed", str(number))
            await keys(quick, 1)
        missed, first, *_ = await slow.take(0) or []
    assert isinstance(missed, Missed)
    assert (missed.count, missed.topic) == (lost, "")
    assert isinstance(first, Event)
    assert first.key == str(lost)


async def test_a_lost_tail_is_told_once_and_followed_again(
    streams: EventStreams, tails: Tails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "RETRY_SECONDS", 0)
    with streams.listen(["run-changed"]) as listener:
        for began in (1, 2, 3):
            await tails.until("run-changed")
            assert tails.began == began
            tails.open["run-changed"].put_nowait(None)
            await tails.until()
        await tails.until("run-changed")
        tails.publish("run-changed", "back")
        news: list[Any] = []
        while not news or not isinstance(news[-1], Event):
            news += await listener.take(PATIENCE_SECONDS) or []
    assert [type(item) for item in news] == [Missed, Event]
    assert (news[0].topic, news[0].reason) == ("run-changed", "gone")


async def test_a_large_value_is_left_out(streams: EventStreams, tails: Tails) -> None:
    with streams.listen(["run-logged"]) as listener:
        await tails.until("run-logged")
        tails.publish("run-logged", "large", json='"' + "x" * event_streams.MAX_VALUE_BYTES + '"')
        [event] = await listener.take(PATIENCE_SECONDS) or []
    assert isinstance(event, Event)
    assert (event.value, event.size_bytes) == (None, 1)


async def test_a_stop_ends_listeners_and_takes_no_more(streams: EventStreams, tails: Tails) -> None:
    with streams.listen(["run-changed"]) as listener:
        await tails.until("run-changed")
        await streams.stop()
        assert await listener.take(PATIENCE_SECONDS) is None
    await tails.until()
    with pytest.raises(Unavailable):
        streams.check(["run-changed"])


async def test_listeners_are_bounded_and_topics_known(
    streams: EventStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "MAX_LISTENERS", 1)
    with streams.listen(["run-changed"]), pytest.raises(ResourceExhausted), streams.listen(["run-changed"]):
        pass
    with pytest.raises(InvalidArgument, match="no-such-topic"):
        streams.check(["no-such-topic"])
