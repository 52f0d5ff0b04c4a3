"""Exported runs with where they came from and what they left."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import pytest
from runstream.artifacts.results import Tree
from runstream.query.client import Client
from runstream.query.export import export_runs
from runstream.query.results import DatasetInput

pyarrow = pytest.importorskip("pyarrow")


class Known:
    """A client that knows files and versions."""

    def __init__(self, run_ids):
        self.artifacts = SimpleNamespace(usage=self._usage)
        self.models = SimpleNamespace(search_versions=self._search)
        self.with_files = run_ids[0]
        self.searches: list[str] = []

    def _usage(self, run_id):
        return (
            Tree("d" * 64, 2, 30, sealed=False)
            if run_id == self.with_files
            else Tree("0" * 64, 0, 0, sealed=False)
        )

    def _search(self, filter_string, *, order_by):
        self.searches.append(filter_string)
        assert order_by == ["name ASC", "version_number ASC"]
        if self.with_files in filter_string:
            yield SimpleNamespace(run_id=self.with_files, name="digits", version=1)
            yield SimpleNamespace(run_id=self.with_files, name="digits", version=12)


@pytest.fixture
def runs(deployment):
    """Three runs; the first has a dataset and a commit."""
    first = deployment.store.runs[f"{0:032x}"]
    first.tags.add(key="mlflow.source.git.commit", value="abc123")
    dataset = first.inputs.add()
    dataset.dataset.name, dataset.dataset.digest = "mnist", "d1"
    dataset.tags.add(key="mlflow.data.context", value="training")
    with Client(deployment.url) as client:
        found = list(client.search_runs("digits"))
    assert any(isinstance(item, DatasetInput) for run in found for item in run.inputs)
    return found


def test_parquet_has_typed_columns(runs, tmp_path):
    from pyarrow import parquet

    export_runs(runs, tmp_path / "r.parquet", "parquet", lineage_from=Known([run.run_id for run in runs]))
    first, second, _ = parquet.read_table(tmp_path / "r.parquet").to_pylist()
    assert first["git_commit"] == "abc123"
    assert first["datasets"] == [{"name": "mnist", "digest": "d1", "context": "training"}]
    assert first["model_versions"] == ["digits/1", "digits/12"]
    assert (first["artifact_count"], first["artifact_bytes"], first["artifact_digest"]) == (2, 30, "d" * 64)
    assert (second["git_commit"], second["datasets"], second["model_versions"]) == (None, [], [])
    assert (second["artifact_count"], second["artifact_digest"]) == (0, None)


def test_csv_has_json_arrays(runs, tmp_path):
    export_runs(runs, tmp_path / "r.csv", "csv", lineage_from=Known([run.run_id for run in runs]))
    with (tmp_path / "r.csv").open() as file:
        first, *_ = csv.DictReader(file)
    assert json.loads(first["datasets"]) == [{"name": "mnist", "digest": "d1", "context": "training"}]
    assert json.loads(first["model_versions"]) == ["digits/1", "digits/12"]


def test_versions_are_searched_for_many_runs_at_once(runs, tmp_path):
    client = Known([runs[0].run_id])
    export_runs(runs * 40, tmp_path / "r.parquet", "parquet", lineage_from=client)
    assert [filter_string.count("'") // 2 for filter_string in client.searches] == [50, 50, 20]
