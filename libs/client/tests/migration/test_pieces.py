"""Parts of a migration by themselves: addresses, histories, the journal, where versions point."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from runstream.migration.addresses import mlflow_uri
from runstream.migration.files import FileFact, Inventory
from runstream.migration.histories import DatabaseHistories, StoreHistories
from runstream.migration.journal import Entry, Journal
from runstream.migration.moved import Moved
from runstream.migration.source import MlflowSource
from runstream_common.errors import FailedPrecondition, InvalidArgument, NotFound

RUN = "0123456789abcdef0123456789abcdef"
MODEL = f"m-{RUN}"


def test_addresses(tmp_path):
    database = tmp_path / "x.db"
    database.touch()

    assert mlflow_uri("http://host:5000/", "--from") == "http://host:5000"
    assert mlflow_uri("runstream://host", "--from") == "http://host:5000"
    assert mlflow_uri(f"sqlite:///{database}", "--from") == f"sqlite:///{database}"
    assert mlflow_uri("postgresql://u@h/db", "--from") == "postgresql+psycopg://u@h/db"
    with pytest.raises(InvalidArgument, match="--from"):
        mlflow_uri("ftp://host", "--from")
    with pytest.raises(NotFound, match="missing"):
        mlflow_uri(f"sqlite:///{tmp_path}/missing.db", "--from")
    with pytest.raises(NotFound, match="mlruns"):
        mlflow_uri(f"{tmp_path}/mlruns", "--from")


@pytest.mark.parametrize("kind", ["database", "file store"])
def test_histories_are_read_without_repeats(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"sqlite:///{tmp_path}/x.db" if kind == "database" else str(tmp_path / "mlruns")
    client = MlflowClient(tracking_uri=uri)
    run = client.create_run("0" if kind == "file store" else client.create_experiment("e", str(tmp_path)))
    points = [Metric("a", math.nan, 5, 1), Metric("a", 0.5, 5, 1), Metric("b", math.inf, 6, -(2**40))]
    for _ in range(2):
        client.log_batch(run.info.run_id, points)
    source = MlflowSource(uri)
    [read] = source.run_summaries(run.info.experiment_id)
    series = {one.key: one for one in source.histories(read)}

    assert sorted(map(str, series["a"].values)) == ["0.5", "nan"]
    assert series["a"].steps.tolist() == [1, 1]
    assert (series["b"].steps.tolist(), series["b"].timestamps_ms.tolist()) == ([-(2**40)], [6])
    assert series["b"].values[0] == (math.inf if kind == "file store" else np.finfo(float).max)
    assert isinstance(source._histories, DatabaseHistories if kind == "database" else StoreHistories)


def test_journal_remembers_and_belongs_to_one_migration(tmp_path):
    path = tmp_path / "deep" / "state.sqlite"
    with Journal(path, "a", "b") as journal:
        journal.put("run", Entry("r1", "t1", False, {"n": 1}))
        journal.put("run", Entry("r1", "t1", True, {"n": 2}))
        journal.put("model", Entry("r1", "m", True, {}))
    with Journal(path, "a", "b") as journal:
        assert journal.get("run", "r1") == Entry("r1", "t1", True, {"n": 2})
        assert journal.get("run", "r2") is None
        assert [entry.id for entry in journal.entries("run")] == ["r1"]
    with pytest.raises(FailedPrecondition, match="another --state"):
        Journal(path, "a", "c")


@pytest.mark.parametrize(
    ("source", "moved"),
    [
        (f"mlflow-artifacts:/1/{RUN}/artifacts/model", f"mlflow-artifacts:/7/{RUN}/artifacts/model"),
        (f"mlflow-artifacts:/1/{RUN}/artifacts", f"mlflow-artifacts:/7/{RUN}/artifacts"),
        (f"mlflow-artifacts:/1/{RUN}/artifacts-else/x", f"mlflow-artifacts:/1/{RUN}/artifacts-else/x"),
        (f"runs:/{RUN}/model", "runs:/other/model"),
        (f"models:/{MODEL}", "models:/m-other"),
        ("s3://elsewhere/model", "s3://elsewhere/model"),
        ("models:/name/3", "models:/name/3"),
    ],
)
def test_sources_of_versions_follow_their_files(source, moved, tmp_path):
    with Journal(tmp_path / "state", "a", "b") as journal:
        uris = {
            "from_uri": f"mlflow-artifacts:/1/{RUN}/artifacts",
            "to_uri": f"mlflow-artifacts:/7/{RUN}/artifacts",
        }
        journal.put("run", Entry(RUN, "other", True, uris))
        journal.put("logged_model", Entry(MODEL, "m-other", True, {"from_uri": "x", "to_uri": "y"}))

        assert Moved(journal).source(source) == moved


def test_inventory_depends_on_paths_sizes_and_digests_and_not_on_their_order():
    files = [FileFact("b", 1, "x"), FileFact("a", 2, "y")]

    assert Inventory.of(files) == Inventory.of(reversed(files))
    assert Inventory.of(files) != Inventory.of([FileFact("b", 1, "x"), FileFact("a", 2, "z")])
    assert (Inventory.of(files).file_count, Inventory.of(files).size_bytes) == (2, 3)
