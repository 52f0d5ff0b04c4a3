"""Requests that nobody would write by hand to the artifact and the registry service, among objects that are there.

Most of them are sensible but for a field or two, so that they get past the question whether something exists.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runstream_common.errors import InvalidArgument
from runstream_proto.artifact.v1 import artifact_service_pb2
from runstream_proto.common.v1 import discovery_service_pb2, operations_service_pb2
from runstream_proto.registry.v1 import (
    model_service_pb2,
    promotion_service_pb2,
    prompt_service_pb2,
    webhook_service_pb2,
)

from tests.support.fuzz_calls import ANSWER_SECONDS, EXAMPLES, FUZZED, NEVER, Ending, call
from tests.support.fuzz_objects import FuzzObjects
from tests.support.postgres import PostgresServer, fresh_database
from tests.support.rpc_fuzz import Rpc, names_of, requests, rpcs_of
from tests.support.service_stack import ServiceStack

if TYPE_CHECKING:
    from collections.abc import Iterator

ARTIFACT_RPCS = rpcs_of(artifact_service_pb2.DESCRIPTOR)
REGISTRY_RPCS = rpcs_of(
    model_service_pb2.DESCRIPTOR,
    promotion_service_pb2.DESCRIPTOR,
    prompt_service_pb2.DESCRIPTOR,
    webhook_service_pb2.DESCRIPTOR,
)
COMMON_RPCS = rpcs_of(operations_service_pb2.DESCRIPTOR, discovery_service_pb2.DESCRIPTOR)
# There are many of these RPCs, and most of the requests are aimed.
HALF_AS_MANY = settings(FUZZED, max_examples=max(1, EXAMPLES // 2))
TOGETHER = 6
"""Requests under way at once."""

# They take away what the next example would hit, or make rules that forbid it.
WRECKING = ("Delete", "Rename", "Move", "Abort", "Complete", "Decide", "PutPolicy")

SETTINGS = {
    "RUNSTREAM_MULTIPART_THRESHOLD_BYTES": "1024",
    "RUNSTREAM_WEBHOOK_ALLOW_HTTP": "true",
    "RUNSTREAM_WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true",
    "RUNSTREAM_WEBHOOK_TIMEOUT_SECONDS": "0.2",
}
# MLflow answers a missing alias with the code of a wrong request; which field it was is plain.
FIELDLESS_REASONS = {"ALIAS_NOT_FOUND"}


@pytest.fixture(scope="module")
def stack(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceStack]:
    """Metadata, artifact and registry service, all of which survive the whole file."""
    with fresh_database(postgres_server) as url:
        running = ServiceStack(
            tmp_path_factory.mktemp("services"),
            database_url=url,
            bus_url=url,
            names=("metadata", "artifact", "registry"),
            settings=SETTINGS,
        )
        try:
            running.start()
            yield running
        finally:
            running.stop()


class Target:
    """A service with objects in it, and one loop for all examples of a test, so that they share channels."""

    def __init__(self, stack: ServiceStack) -> None:
        self.loop = asyncio.new_event_loop()
        self.stack = stack
        self.objects = self.loop.run_until_complete(self._objects())
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def _objects(self) -> FuzzObjects:
        objects = FuzzObjects(self.stack)
        await objects.renew()
        return objects

    def renew(self) -> None:
        self.loop.run_until_complete(self.objects.renew())

    def call(self, rpc: Rpc, request: bytes) -> Ending:
        return self.call_together([(rpc, request)])[0]

    def call_together(self, calls: list[tuple[Rpc, bytes]]) -> list[Ending]:
        async def run() -> list[Ending]:
            return await asyncio.gather(
                *(call(self._channel(rpc), rpc, request, ANSWER_SECONDS) for rpc, request in calls)
            )

        return self.loop.run_until_complete(run())

    def _channel(self, rpc: Rpc) -> grpc.aio.Channel:
        service = self.stack.artifact if "artifact" in rpc.path else self.stack.registry
        if service.target not in self._channels:
            self._channels[service.target] = self.stack.channel(service)
        return self._channels[service.target]

    async def _close(self) -> None:
        await self.objects.close()
        for channel in self._channels.values():
            await channel.close()

    def close(self) -> None:
        self.loop.run_until_complete(self._close())
        self.loop.close()


@pytest.fixture
def target(stack: ServiceStack) -> Iterator[Target]:
    made = Target(stack)
    yield made
    made.close()


def check(ending: Ending) -> None:
    """An answer, or a refusal that a caller can act on."""
    assert ending.code not in NEVER, ending
    if isinstance(ending.error, InvalidArgument) and ending.error.reason not in FIELDLESS_REASONS:
        assert ending.error.violations, ending
        assert all(item.field and item.description for item in ending.error.violations), ending


def fuzz(target: Target, rpc: Rpc) -> None:
    wrecks = any(word in rpc.path for word in WRECKING)

    @HALF_AS_MANY
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        if wrecks:
            target.renew()
        check(target.call(rpc, data.draw(requests(rpc, target.objects.known))))

    examples()


@pytest.mark.parametrize("rpc", ARTIFACT_RPCS, ids=names_of(ARTIFACT_RPCS))
def test_the_artifact_service_survives_any_request(target: Target, rpc: Rpc) -> None:
    fuzz(target, rpc)


@pytest.mark.parametrize("rpc", REGISTRY_RPCS, ids=names_of(REGISTRY_RPCS))
def test_the_registry_survives_any_request(target: Target, rpc: Rpc) -> None:
    fuzz(target, rpc)


@pytest.mark.parametrize("rpc", COMMON_RPCS, ids=names_of(COMMON_RPCS))
def test_the_registry_survives_any_request_of_operators_and_consumers(target: Target, rpc: Rpc) -> None:
    fuzz(target, rpc)


@pytest.mark.parametrize("rpcs", [ARTIFACT_RPCS, REGISTRY_RPCS], ids=["artifact", "registry"])
def test_any_requests_at_once_neither_deadlock_nor_fail_inside(target: Target, rpcs: list[Rpc]) -> None:
    @HALF_AS_MANY
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        target.renew()
        chosen = [data.draw(st.sampled_from(rpcs)) for _ in range(TOGETHER)]
        drawn = [(rpc, data.draw(requests(rpc, target.objects.known))) for rpc in chosen]
        for ending in target.call_together(drawn):
            check(ending)

    examples()


def test_every_service_works_on_after_all_that(target: Target) -> None:
    """Runs last in the file: nothing of what came before has ended a process or broken its work."""
    assert [service.exit_code() for service in target.stack.services] == [None, None, None]
    assert all(service.is_ready() for service in target.stack.services)
    target.renew()
    verified = REGISTRY_RPCS[
        [rpc.path for rpc in REGISTRY_RPCS].index("/runstream.registry.v1.PromotionService/VerifyAudit")
    ]
    answer = target.call(verified, b"")
    assert answer.code is grpc.StatusCode.OK
