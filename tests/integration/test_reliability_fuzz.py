"""Whatever bytes come to a gRPC door: an answer or a precise refusal, never an internal error, and the server lives.

Hypothesis makes the requests from the descriptors, so that a new RPC is covered as soon as it exists.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runstream_proto.common.v1 import discovery_service_pb2, operations_service_pb2
from runstream_proto.ingest.v1 import ingest_service_pb2
from runstream_proto.metadata.v1 import experiment_service_pb2, metric_service_pb2, run_service_pb2
from runstream_proto.metadata.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub

from tests.support.fuzz_calls import FUZZED, NEVER, call
from tests.support.load import create_run
from tests.support.rpc_fuzz import KNOWN_RUN, Rpc, names_of, requests, rpcs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.service_stack import ServiceStack

METADATA_RPCS = rpcs_of(
    experiment_service_pb2.DESCRIPTOR,
    run_service_pb2.DESCRIPTOR,
    metric_service_pb2.DESCRIPTOR,
    operations_service_pb2.DESCRIPTOR,
    discovery_service_pb2.DESCRIPTOR,
)
INGEST_RPCS = rpcs_of(ingest_service_pb2.DESCRIPTOR, discovery_service_pb2.DESCRIPTOR)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One loop for all examples of a test, so that they share a channel."""
    own = asyncio.new_event_loop()
    yield own
    own.close()


async def prepare(stack: ServiceStack) -> None:
    """Have the run and its experiment there and active, whatever the requests before did to them."""
    async with stack.channel() as channel:
        request = experiment_service_pb2.RestoreExperimentRequest(experiment_id="0")
        with contextlib.suppress(grpc.aio.AioRpcError):  # NOT_FOUND when it is active
            await ExperimentServiceStub(channel).RestoreExperiment(request, timeout=30)
        await create_run(channel, KNOWN_RUN)
        await RunServiceStub(channel).RestoreRun(
            run_service_pb2.RestoreRunRequest(run_id=KNOWN_RUN), timeout=30
        )


def fuzz(loop: asyncio.AbstractEventLoop, stack: ServiceStack, target: str, rpc: Rpc) -> None:
    async def opened() -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(target)

    loop.run_until_complete(prepare(stack))
    channel = loop.run_until_complete(opened())

    @FUZZED
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        request = data.draw(requests(rpc))
        assert loop.run_until_complete(call(channel, rpc, request)).code not in NEVER

    examples()
    loop.run_until_complete(channel.close())


@pytest.mark.parametrize("rpc", METADATA_RPCS, ids=names_of(METADATA_RPCS))
@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_metadata_survives_any_bytes(stack: ServiceStack, loop: asyncio.AbstractEventLoop, rpc: Rpc) -> None:
    fuzz(loop, stack, stack.metadata.target, rpc)


@pytest.mark.parametrize("rpc", INGEST_RPCS, ids=names_of(INGEST_RPCS))
@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_ingest_survives_any_bytes(stack: ServiceStack, loop: asyncio.AbstractEventLoop, rpc: Rpc) -> None:
    fuzz(loop, stack, stack.ingest.target, rpc)


@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
async def test_both_services_work_on_after_all_that(stack: ServiceStack) -> None:
    """Runs last in the file: nothing of what came before has ended a process or broken its work."""
    assert (stack.metadata.exit_code(), stack.ingest.exit_code()) == (None, None)
    assert await asyncio.to_thread(stack.metadata.is_ready)
    assert await asyncio.to_thread(stack.ingest.is_ready)
    async with stack.channel() as channel:
        assert await create_run(channel)
