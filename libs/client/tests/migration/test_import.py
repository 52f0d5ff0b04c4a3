"""A real MLflow store is brought over: everything it holds is there, nothing else, and again changes nothing."""

from __future__ import annotations

import math
import uuid

import pytest
from mlflow import MlflowClient
from runstream.migration.report import Report
from runstream.query.client import Client

from libs.client.tests.migration.carrying import carry
from libs.client.tests.migration.filling import HISTORY, Filled, fill


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Filled:
    return fill(tmp_path_factory.mktemp("source"), f"import-{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def imported(filled, mlflow_stack, tmp_path_factory) -> Report:
    return carry(filled, mlflow_stack.metadata.target, tmp_path_factory.mktemp("state") / "state.sqlite")


@pytest.fixture
def client(mlflow_stack):
    with Client(mlflow_stack.metadata.target) as found:
        yield found


def test_everything_is_counted_and_equal(imported):
    assert "\n".join(imported.problems) == ""
    assert imported.carried["experiments"] == 4  # with Default
    assert imported.carried["runs"] == imported.verified["runs"] == 4
    assert imported.carried["points"] == len(HISTORY) + 900 + 1 + 1 + 1
    assert imported.carried["files"] == 3 + 1
    assert imported.verified["logged models"] == 1
    assert imported.verified["models"] == 2
    assert imported.carried["versions"] == 4


def test_run_keeps_id_times_params_tags_and_links(imported, filled, client):
    run = client.get_run(filled.run_id)

    assert run.run_name == "full"
    assert run.status == "FINISHED"
    assert run.start_time.timestamp() == 1_600_000_000
    assert run.end_time.timestamp() == 1_600_000_100
    assert len(run.params) == 102
    assert run.tags["note"] == "ä\nb"
    assert len(run.params["long"]) == 6000


def test_histories_are_exact(imported, filled, client):
    values = client.metric_history(filled.run_id, "loss").values

    # -0.0 is 0.0 to a database's key, as to MLflow.
    assert [value for value in values if not math.isnan(value)] == [v for v in HISTORY if not math.isnan(v)]
    assert sum(map(math.isnan, values)) == 1


def test_deleted_runs_and_experiments_stay_deleted(imported, filled, client):
    deleted, running = client.get_run(filled.deleted_run_id), client.get_run(filled.running_id)

    assert (deleted.lifecycle_stage, deleted.status) == ("deleted", "FAILED")
    assert deleted.tags["mlflow.parentRunId"] == filled.run_id
    assert client.metric_history(filled.deleted_run_id, "loss").steps.tolist() == [2**40]
    assert (running.status, running.end_time) == ("RUNNING", None)
    assert client.get_experiment(filled.name.replace("everything", "gone")).lifecycle_stage == "deleted"
    experiment = client.get_experiment(filled.name)
    source = MlflowClient(tracking_uri=filled.uri).get_experiment_by_name(filled.name)
    assert experiment.tags == {"team": "vision"}
    assert int(experiment.creation_time.timestamp() * 1000) == source.creation_time


def test_files_are_equal_byte_for_byte(imported, filled, client):
    assert client.artifacts.read_bytes(filled.run_id, "deep/er/blob.bin") == bytes(range(256)) * 50
    assert client.artifacts.read_bytes(f"models:/{filled.model_id}", "er/blob.bin") == bytes(range(256)) * 50
    assert {item.path for item in client.artifacts.list(filled.run_id, recursive=True)} == {
        "deep/er/blob.bin",
        "empty",
        "notes.txt",
    }


def test_models_keep_numbers_aliases_stages_and_times(imported, filled, client):
    source = MlflowClient(tracking_uri=filled.uri, registry_uri=filled.uri)
    versions = {item.version: item for item in client.models.search_versions(f"name = '{filled.model}'")}

    assert sorted(versions) == [1, 3]
    assert (versions[1].description, dict(versions[1].tags)) == ("first", {"q": "1"})
    assert versions[1].run_id == versions[3].run_id == filled.run_id
    assert versions[1].artifacts.file_count == 1
    assert versions[3].stage == "Production"
    assert client.models.get(filled.model).aliases == {"champion": 1}
    before = source.get_model_version(filled.model, "3")
    assert int(versions[3].creation_time.timestamp() * 1000) == before.creation_timestamp


def test_prompts_are_prompts(imported, filled, client):
    prompt = client.prompts.get(filled.prompt, alias="live")

    assert prompt.version == 1
    assert prompt.template == "Say {{ what }}"


def test_a_second_call_changes_nothing_and_skips_what_ended(imported, filled, mlflow_stack, tmp_path, client):
    again = carry(filled, mlflow_stack.metadata.target, tmp_path / "other.sqlite")
    third = carry(filled, mlflow_stack.metadata.target, tmp_path / "other.sqlite")

    assert again.problems == third.problems == []
    assert (again.carried["runs"], third.carried["runs"], third.skipped["runs"]) == (4, 2, 2)
    assert len(client.metric_history(filled.run_id, "loss")) == len(HISTORY)
    assert sorted(v.version for v in client.models.search_versions(f"name = '{filled.model}'")) == [1, 3]
