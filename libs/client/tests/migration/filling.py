"""A small MLflow deployment with one of everything, written through MLflow's own stores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.tracking._tracking_service.utils import _use_tracking_uri

HISTORY = [0.5, math.nan, -0.0, 1e308, 5e-324, 0.1 + 0.2]


@dataclass
class Filled:
    """What was written.

    Attributes:
        uri: sqlite URI.
        name: experiment with everything.
        run_id: run with everything.
        deleted_run_id: run that was deleted.
        model_id: logged model.
        model: registered model.
        prompt: prompt.
    """

    uri: str
    name: str
    experiment_id: str
    run_id: str
    running_id: str
    deleted_run_id: str
    model_id: str
    model: str
    prompt: str


def fill(folder: Path, prefix: str, server_url: str = "") -> Filled:
    """Fill a server, or a database and files that are made in a folder; names begin with the prefix."""
    folder.mkdir(parents=True, exist_ok=True)
    uri = server_url or f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    name = f"{prefix}-everything"
    files = None if server_url else (folder / "files").as_uri()
    experiment_id = client.create_experiment(name, artifact_location=files, tags={"team": "vision"})
    client.create_experiment(f"{prefix}-empty", artifact_location=files)
    gone = client.create_experiment(f"{prefix}-gone", artifact_location=files)
    client.create_run(gone)
    run_id, model_id = _full_run(client, experiment_id, folder)
    running = client.create_run(experiment_id, run_name="still running", start_time=1_700_000_000_000)
    client.log_metric(running.info.run_id, "loss", 1.0, timestamp=1_700_000_000_001, step=-5)
    deleted = client.create_run(experiment_id, tags={"mlflow.parentRunId": run_id})
    client.log_metric(deleted.info.run_id, "loss", math.nan, timestamp=1, step=2**40)
    client.set_terminated(deleted.info.run_id, "FAILED")
    client.delete_run(deleted.info.run_id)
    client.delete_experiment(gone)
    with _use_tracking_uri(uri):  # by which the database resolves models:/m-…
        model = _registered(client, f"{prefix}-model", run_id, model_id)
    prompt = _prompt(client, f"{prefix}-prompt")
    return Filled(
        uri, name, experiment_id, run_id, running.info.run_id, deleted.info.run_id, model_id, model, prompt
    )


def _full_run(client: MlflowClient, experiment_id: str, folder: Path) -> tuple[str, str]:
    run = client.create_run(
        experiment_id, run_name="full", start_time=1_600_000_000_000, tags={"note": "ä\nb"}
    )
    run_id = run.info.run_id
    points = [Metric("loss", value, 1_600_000_000_000 + i, i) for i, value in enumerate(HISTORY)]
    points += [Metric("acc/val 1", i / 7, 1_600_000_000_000 + i, i) for i in range(900)]
    client.log_batch(run_id, metrics=points, params=[Param("lr", "0.1"), Param("long", "x" * 6000)])
    client.log_batch(run_id, tags=[RunTag(f"tag{i:03}", "v") for i in range(100)])
    client.log_batch(run_id, params=[Param(f"p{i:03}", str(i)) for i in range(100)])
    client.log_inputs(
        run_id,
        [
            DatasetInput(
                Dataset("iris", "d1", "local", "{}", "{}", None), [InputTag("mlflow.data.context", "train")]
            )
        ],
    )
    model = client.create_logged_model(
        experiment_id,
        name="net",
        source_run_id=run_id,
        params={"depth": "3"},
        tags={"kind": "tree"},
        model_type="Agent",
    )
    client.log_metric(
        run_id,
        "f1",
        0.9,
        timestamp=1_600_000_000_500,
        step=1,
        dataset_name="iris",
        dataset_digest="d1",
        model_id=model.model_id,
    )
    client.log_inputs(run_id, models=[LoggedModelInput(model.model_id)])
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 3)])
    files = folder / "to-log"
    (files / "deep" / "er").mkdir(parents=True, exist_ok=True)
    (files / "notes.txt").write_text("notes")
    (files / "deep" / "er" / "blob.bin").write_bytes(bytes(range(256)) * 50)
    (files / "empty").write_bytes(b"")
    client.log_artifacts(run_id, str(files))
    client.log_model_artifacts(model.model_id, str(files / "deep"))
    client.finalize_logged_model(model.model_id, "READY")
    client.set_terminated(run_id, "FINISHED", end_time=1_600_000_100_000)
    return run_id, model.model_id


def _registered(client: MlflowClient, name: str, run_id: str, model_id: str) -> str:
    client.create_registered_model(name, tags={"owner": "ada"}, description="a model")
    source = f"{client.get_run(run_id).info.artifact_uri}/deep"
    client.create_model_version(name, source, run_id=run_id, tags={"q": "1"}, description="first")
    client.create_model_version(name, source, run_id=run_id)
    client.create_model_version(name, f"models:/{model_id}", run_id=run_id, model_id=model_id)
    client.delete_model_version(name, "2")
    client.set_registered_model_alias(name, "champion", "1")
    client.transition_model_version_stage(name, "3", "Production")
    return name


def _prompt(client: MlflowClient, name: str) -> str:
    client.register_prompt(name, "Say {{ what }}", commit_message="first", tags={"lang": "en"})
    client.register_prompt(name, "Shout {{ what }}")
    client.set_prompt_alias(name, "live", 1)
    return name
