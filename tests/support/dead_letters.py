"""Messages that the metadata service parks, for tests of what people do with them."""

from __future__ import annotations

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from runstream_contract.ids import new_batch_id
from runstream_proto.events.v1.run_logged_pb2 import MetricSeries, RunLogged

from tests.support.load import PATIENCE_SECONDS
from tests.support.messages import DeadLetters, publish, publishing

if TYPE_CHECKING:
    from runstream_proto.common.v1.operations_service_pb2 import DeadLetter

    from tests.support.service_stack import ServiceStack


def park(stack: ServiceStack, count: int) -> list[DeadLetter]:
    """Publish messages of runs that do not exist, and wait until each is parked; oldest first.

    Works in a thread of its own: the caller may have an event loop, or Playwright's.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, _park(stack, count)).result(PATIENCE_SECONDS)


async def _park(stack: ServiceStack, count: int) -> list[DeadLetter]:
    keys = [uuid.uuid4().hex for _ in range(count)]
    async with publishing(stack) as bus:
        for key in keys:
            now_ms = time.time_ns() // 1_000_000
            series = MetricSeries(key="loss", steps=[1], timestamps_ms=[now_ms], values=[0.5])
            event = RunLogged(batch_id=new_batch_id(), run_id=key, series=[series])
            await publish(bus, key, event.SerializeToString())
    async with stack.channel() as channel:
        letters = DeadLetters(channel)
        return [(await letters.wait_for(key, 1))[0] for key in keys]
