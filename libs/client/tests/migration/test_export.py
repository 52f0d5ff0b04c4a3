"""What was brought over goes back into a real MLflow store, and into a real MLflow server: everything is there again."""

from __future__ import annotations

import math
import uuid

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from runstream.migration.journal import Journal
from runstream.migration.migration import Migration, Scope
from runstream.migration.mlflow_target import MlflowTarget
from runstream.migration.report import Report
from runstream.migration.source import MlflowSource
from runstream.migration.verification import Verification

from libs.client.tests.migration.carrying import carry
from libs.client.tests.migration.filling import HISTORY, Filled, fill


@pytest.fixture(scope="module")
def filled(tmp_path_factory, mlflow_stack) -> Filled:
    made = fill(tmp_path_factory.mktemp("source"), f"export-{uuid.uuid4().hex[:8]}")
    report = carry(made, mlflow_stack.metadata.target, tmp_path_factory.mktemp("state") / "state.sqlite")
    assert report.problems == []
    return made


def export(filled: Filled, gateway_url: str, uri: str, state) -> Report:
    gone = filled.name.replace("everything", "gone")
    scope = Scope(frozenset({filled.name, gone}), models=frozenset({filled.model, filled.prompt}))
    report, source, target = Report(), MlflowSource(gateway_url), MlflowTarget(uri)
    with Journal(state, source.uri, target.name) as journal:
        Migration(source, target, journal, report, scope).run()
        Verification(target, journal, report, files=True).run()
    return report


def test_everything_comes_back(filled, mlflow_stack, tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path / 'back.db'}"
    monkeypatch.chdir(tmp_path)  # where a database's default artifact location is
    report = export(filled, mlflow_stack.gateway.url, uri, tmp_path / "state.sqlite")
    again = export(filled, mlflow_stack.gateway.url, uri, tmp_path / "state.sqlite")
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name(filled.name)
    runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    by_origin = {run.data.tags["runstream.source_run_id"]: run for run in runs}
    full = by_origin[filled.run_id]

    assert report.problems == again.problems == []
    assert (report.carried["runs"], again.skipped["runs"]) == (4, 2)
    assert (full.info.start_time, full.info.end_time) == (1_600_000_000_000, 1_600_000_100_000)
    assert len(full.data.params) == 102
    assert by_origin[filled.deleted_run_id].info.lifecycle_stage == "deleted"
    values = [point.value for point in client.get_metric_history(full.info.run_id, "loss")]
    assert [v for v in values if not math.isnan(v)] == [v for v in HISTORY if not math.isnan(v)]
    assert sorted(int(v.version) for v in client.search_model_versions(f"name='{filled.model}'")) == [1, 3]
    assert client.get_model_version_by_alias(filled.model, "champion").run_id == full.info.run_id
    assert client.get_prompt_version(filled.prompt, 1).template == "Say {{ what }}"
    [model] = client.search_logged_models([experiment.experiment_id])
    assert (model.tags["runstream.source_model_id"], model.source_run_id) == (
        filled.model_id,
        full.info.run_id,
    )
    assert [(point.key, point.value, point.dataset_name) for point in model.metrics] == [("f1", 0.9, "iris")]
