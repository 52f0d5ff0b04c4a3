"""Asks the metadata service about runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.metadata.v1.run_service_pb2 import CheckRunsRequest
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub
from runstream_proto.metadata.v1.types_pb2 import LifecycleStage

from runstream_artifact.run_states import RunState

CALL_TIMEOUT_SECONDS = 5.0

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATES: Mapping[int, RunState] = {
    LifecycleStage.LIFECYCLE_STAGE_ACTIVE: RunState.ACTIVE,
    LifecycleStage.LIFECYCLE_STAGE_DELETED: RunState.DELETED,
}


class MetadataClient:
    """RunLookup over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._runs = RunServiceStub(channel)

    async def state(self, run_id: str) -> RunState:
        """State of a run.

        Raises:
            PlatformError: what the metadata service answered, or Unavailable when it is away.
        """
        request = CheckRunsRequest(run_ids=[run_id])
        try:
            answer = await self._runs.CheckRuns(request, timeout=CALL_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return _STATES.get(answer.runs[0].lifecycle_stage, RunState.UNKNOWN)
