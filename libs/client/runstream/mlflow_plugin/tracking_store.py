"""MLflow's REST store with metrics over gRPC."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.protos import service_pb2 as pb
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.async_logging.run_operations import RunOperations
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from mlflow.utils.validation import MAX_ENTITIES_PER_BATCH

from runstream.mlflow_plugin.addresses import gateway_url, grpc_address
from runstream.mlflow_plugin.metric_path import MetricPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.entities import Metric, Param, RunTag

SERVICES_PATH = "/api/runstream/v1/services"
_DISCOVERY_SECONDS = 5

# Calls whose answer does not depend on points that still wait.
_BLIND_CALLS = frozenset(
    {
        pb.CreateExperiment,
        pb.CreateRun,
        pb.DeleteTag,
        pb.GetExperiment,
        pb.GetExperimentByName,
        pb.LogBatch,
        pb.LogInputs,
        pb.LogMetric,
        pb.LogModel,
        pb.LogOutputs,
        pb.LogParam,
        pb.SearchExperiments,
        pb.SetExperimentTag,
        pb.SetTag,
    }
)


class RunstreamTrackingStore(RestStore):  # type: ignore[misc] # MLflow's classes are untyped
    """The tracking store of `runstream://host:port`.

    `log_metric` and `log_batch` return when the points are in memory; a background thread sends them. Every call that
    could show them, and the end of a run, waits until the server has them. What is refused by then raises there.

    Args:
        store_uri: see `gateway_url`.

    Attributes:
        metrics: the way of the points.
    """

    def __init__(self, store_uri: str) -> None:
        self._url = gateway_url(store_uri)
        super().__init__(partial(get_default_host_creds, self._url))
        self.metrics = MetricPath(self._find_grpc)

    def log_metric(self, run_id: str, metric: Metric) -> None:
        """Buffer a point; the first one of a run is checked by the server."""
        if not self.metrics.take(run_id, [metric]):
            super().log_metric(run_id, metric)
            self.metrics.admit(run_id)

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> None:
        """Write params and tags, and buffer the points. What the server refuses leaves nothing."""
        if len(metrics) + len(params) + len(tags) > MAX_ENTITIES_PER_BATCH:
            super().log_batch(run_id, metrics, params, tags)  # refused with MLflow's text
        elif not (params or tags):
            if not self.metrics.take(run_id, metrics):
                super().log_batch(run_id, metrics, params, tags)
                self.metrics.admit(run_id)
        else:
            self._log_mixed(run_id, metrics, params, tags)

    def _log_mixed(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> None:
        if not self.metrics.can_take(run_id, metrics):
            super().log_batch(run_id, metrics, params, tags)
            self.metrics.admit(run_id)
            return
        super().log_batch(run_id, [], params, tags)
        if not self.metrics.take(run_id, metrics):
            super().log_batch(run_id, metrics, [], [])

    def log_batch_async(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> Any:
        """Buffer points at once; params and tags go through MLflow's queue.

        The first points of a run are written before the call returns: MLflow's queue loses what it holds when a process
        ends without ending its run.
        """
        if params or tags or not self.metrics.open_to(run_id):
            return super().log_batch_async(run_id, metrics, params, tags)
        if self.metrics.take(run_id, metrics):
            return RunOperations([_Sent(self.metrics)])
        outcome: Future[None] = Future()
        try:
            self.log_batch(run_id, metrics, params, tags)
        except MlflowException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)
        return RunOperations([outcome])

    def flush_async_logging(self) -> None:
        """Wait until everything that was logged asynchronously has arrived."""
        super().flush_async_logging()
        self.metrics.flush()

    def shut_down_async_logging(self) -> None:
        """As `flush_async_logging`, and end the queue's threads."""
        super().shut_down_async_logging()
        self.metrics.flush()

    def create_run(self, *args: Any, **kwargs: Any) -> Any:
        """Create a run, whose points then need no first look by the server."""
        run = super().create_run(*args, **kwargs)
        self.metrics.admit(run.info.run_id)
        return run

    def update_run_info(
        self, run_id: str, run_status: Any, end_time: int | None, run_name: str | None
    ) -> Any:
        """Send what waits of the run, then change its status or name."""
        try:
            self.metrics.release(run_id)
        finally:
            # Also when points were refused: the run has come to its end all the same.
            info = super().update_run_info(run_id, run_status, end_time, run_name)
        return info

    def delete_run(self, run_id: str) -> None:
        """Send what waits of the run, then delete it."""
        self.metrics.release(run_id)
        super().delete_run(run_id)

    def _call_endpoint(self, api: Any, *args: Any, **kwargs: Any) -> Any:
        if api not in _BLIND_CALLS:
            self.metrics.flush()
        return super()._call_endpoint(api, *args, **kwargs)

    def _find_grpc(self) -> str | None:
        answer = http_request(
            self.get_host_creds(),
            SERVICES_PATH,
            "GET",
            timeout=_DISCOVERY_SECONDS,
            max_retries=0,
            raise_on_status=False,
        )
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None  # an MLflow server, or a gateway that does not tell
        if answer.status_code != HTTPStatus.OK:
            raise MlflowException(f"{SERVICES_PATH} answered {answer.status_code}: {answer.text:.200}")
        for service in answer.json()["services"]:
            if service["name"] == "metadata":
                return grpc_address(service["target"], self._url)
        return None


class _Sent:
    """The part of a future that MLflow's RunOperations waits on."""

    def __init__(self, path: MetricPath) -> None:
        self._path = path

    def result(self) -> None:
        """Wait until the points have arrived."""
        self._path.flush()
