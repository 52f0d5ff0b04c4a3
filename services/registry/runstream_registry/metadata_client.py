"""Asks the metadata service about runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from runstream_common.rpc.status import from_rpc_error
from runstream_contract.names import is_run_id
from runstream_proto.metadata.v1 import types_pb2 as types
from runstream_proto.metadata.v1.run_service_pb2 import GetRunsRequest
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub

from runstream_registry.entities import DatasetFact, RunFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

CALL_TIMEOUT_SECONDS = 5.0

DATASET_CONTEXT_TAG = "mlflow.data.context"


class MetadataClient:
    """Reads runs over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        # The generated stub does not know that the channel is an asynchronous one.
        self._runs: Any = RunServiceStub(channel)

    async def runs(self, run_ids: Sequence[str]) -> dict[str, RunFacts]:
        """Facts of the runs that exist, deleted ones included.

        Args:
            run_ids: at most 1,000.

        Raises:
            PlatformError: what the metadata service answered, or Unavailable when it is away.
        """
        # Versions of other deployments' runs have ids that none of ours can have; asking for them is refused.
        asked = [run_id for run_id in run_ids if is_run_id(run_id)]
        if not asked:
            return {}
        try:
            answer = await self._runs.GetRuns(GetRunsRequest(run_ids=asked), timeout=CALL_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return {run.run_id: _facts(run) for run in answer.runs}

    async def run(self, run_id: str) -> RunFacts | None:
        """Facts of one run; None when the metadata service does not know it. Raises as ``runs``."""
        return (await self.runs([run_id])).get(run_id)


def _facts(run: types.Run) -> RunFacts:
    return RunFacts(
        run_id=run.run_id,
        name=run.run_name,
        experiment_id=run.experiment_id,
        user_id=run.user_id,
        deleted=run.lifecycle_stage == types.LIFECYCLE_STAGE_DELETED,
        tags={tag.key: tag.value for tag in run.tags},
        metrics={metric.key: metric.value for metric in run.metrics},
        datasets=[_dataset(item) for item in run.inputs],
    )


def _dataset(item: types.DatasetInput) -> DatasetFact:
    context = next((tag.value for tag in item.tags if tag.key == DATASET_CONTEXT_TAG), "")
    dataset = item.dataset
    return DatasetFact(dataset.name, dataset.digest, dataset.source_type, dataset.source, context)
