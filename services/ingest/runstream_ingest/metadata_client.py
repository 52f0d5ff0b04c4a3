"""Asks the metadata service about runs."""

from collections.abc import Sequence

import grpc
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.metadata.v1.run_service_pb2 import CheckRunsRequest
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub
from runstream_proto.metadata.v1.types_pb2 import LifecycleStage

from runstream_ingest.run_states import RunState

CALL_TIMEOUT_SECONDS = 5.0

_STATES = {
    LifecycleStage.LIFECYCLE_STAGE_ACTIVE: RunState.ACTIVE,
    LifecycleStage.LIFECYCLE_STAGE_DELETED: RunState.DELETED,
}


class MetadataClient:
    """RunLookup over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._runs = RunServiceStub(channel)

    async def states(self, run_ids: Sequence[str]) -> dict[str, RunState]:
        """States of the runs.

        Raises:
            PlatformError: what the metadata service answered, or Unavailable when it is away.
        """
        try:
            answer = await self._runs.CheckRuns(
                CheckRunsRequest(run_ids=run_ids), timeout=CALL_TIMEOUT_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return {run.run_id: _STATES.get(run.lifecycle_stage, RunState.UNKNOWN) for run in answer.runs}
