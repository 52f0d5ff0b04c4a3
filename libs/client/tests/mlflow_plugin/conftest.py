"""MLflow's client against the worker's gateway, by our scheme; what is global in MLflow is put back."""

from __future__ import annotations

import uuid

import mlflow
import pytest
from mlflow.tracking._tracking_service.utils import _tracking_store_registry
from runstream.mlflow_plugin import metric_path
from runstream.mlflow_plugin.tracking_store import RunstreamTrackingStore


@pytest.fixture
def tracking_uri(gateway_url, monkeypatch, tmp_path):
    """`runstream://host:port`, set as MLflow's tracking URI; points that cannot be sent go to a folder of the test."""
    monkeypatch.setenv("RUNSTREAM_SPOOL_DIR", str(tmp_path / "spool"))
    # MLflow keeps stores for ever; each test has one of its own, whose points are sent when it ends.
    _tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    before = mlflow.get_tracking_uri()
    uri = gateway_url.replace("http://", "runstream://")
    mlflow.set_tracking_uri(uri)
    yield uri
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.set_tracking_uri(before)


@pytest.fixture
def experiment(tracking_uri):
    """Name of an experiment of this test alone, set as the active one."""
    name = f"plugin-{uuid.uuid4().hex[:12]}"
    mlflow.set_experiment(name)
    return name


@pytest.fixture
def store(tracking_uri):
    """A store of this test alone, with a metric path of its own."""
    made = RunstreamTrackingStore(tracking_uri)
    yield made
    made.metrics.close()


@pytest.fixture(autouse=True)
def _close_paths():
    yield
    metric_path.close_all()
