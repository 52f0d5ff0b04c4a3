"""Whether those exist whose files are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_proto.metadata.v1 import logged_model_service_pb2 as models_pb
from runstream_proto.metadata.v1 import run_service_pb2 as runs_pb
from runstream_proto.metadata.v1.types_pb2 import LifecycleStage

from runstream_gateway.mlflow_api.calls import call
from runstream_gateway.mlflow_api.errors import logged_model_missing, run_missing
from runstream_gateway.mlflow_api.identities import existing_run_id

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends


class OwnerChecks:
    """Asks the metadata service; deleted runs keep their files."""

    def __init__(self, backends: Backends) -> None:
        self._runs = backends.runs
        self._models = backends.logged_models
        self._timeout_seconds = backends.timeout_seconds

    async def require_run(self, run_id: str | None) -> str:
        """The id of a run that exists.

        Raises:
            MlflowException: 404.
        """
        if run_id is None:
            raise run_missing("None")
        message = runs_pb.CheckRunsRequest(run_ids=[existing_run_id(run_id)])
        answer = await call(self._runs.CheckRuns, message, self._timeout_seconds)
        if answer.runs[0].lifecycle_stage == LifecycleStage.LIFECYCLE_STAGE_UNSPECIFIED:
            raise run_missing(run_id)
        return run_id

    async def run_uri(self, run_id: str) -> str:
        """Root of a run's files as MLflow names it.

        Raises:
            MlflowException: 404.
        """
        message = runs_pb.GetRunRequest(run_id=existing_run_id(run_id))
        answer = await call(self._runs.GetRun, message, self._timeout_seconds)
        return answer.run.artifact_uri

    async def model_uri(self, model_id: str) -> str:
        """Root of a logged model's files as MLflow names it.

        Raises:
            MlflowException: 404.
        """
        message = models_pb.GetLoggedModelRequest(model_id=model_id)
        # An id that none can have is one that none has.
        words = {"INVALID_ARGUMENT": lambda _: logged_model_missing(model_id)}
        answer = await call(self._models.GetLoggedModel, message, self._timeout_seconds, words)
        return answer.model.artifact_uri
