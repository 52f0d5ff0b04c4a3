"""Experiments: MLflow's endpoints over ExperimentService."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from mlflow.protos import service_pb2 as mlflow_pb
from runstream_proto.metadata.v1 import experiment_service_pb2 as pb

from runstream_gateway.mlflow_api.checks import required, string
from runstream_gateway.mlflow_api.errors import translated
from runstream_gateway.mlflow_api.messages import message_reply, read_message
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends

_PREFIX = "/api/2.0/mlflow/experiments/"


def routes(backends: Backends) -> list[Route]:
    """Routes of this area."""
    api = Experiments(backends)
    return [Route("POST", _PREFIX + "create", api.create)]


class Experiments:
    """Translates between MLflow's messages and the metadata service."""

    def __init__(self, backends: Backends) -> None:
        self._experiments = backends.experiments
        self._timeout = backends.timeout_seconds

    async def create(self, request: Request) -> Response:
        """experiments/create."""
        asked = await read_message(request, mlflow_pb.CreateExperiment(), {"name": [required, string]})
        try:
            answer = await self._experiments.CreateExperiment(
                pb.CreateExperimentRequest(name=asked.name, artifact_location=asked.artifact_location),
                timeout=self._timeout,
            )
        except grpc.RpcError as error:
            raise translated(error) from error
        return message_reply(
            mlflow_pb.CreateExperiment.Response(experiment_id=answer.experiment.experiment_id)
        )
