"""Further columns of exported runs: where they came from, what they left, and which model versions came of them.

Parquet                                                     CSV
git_commit: string                                          the same
datasets: list<struct<name, digest, context>>               a JSON array
model_versions: list<string>, "name/version"                a JSON array
artifact_count, artifact_bytes: int64, artifact_digest      the same
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream.query.client import Client
    from runstream.query.results import DatasetInput, Run

COMMIT_TAG = "mlflow.source.git.commit"
CONTEXT_TAG = "mlflow.data.context"
RUNS_PER_SEARCH = 50


def lineage_schema(pyarrow: Any, file_format: str) -> dict[str, Any]:
    """Names and types of the columns."""
    text = pyarrow.string()
    dataset = pyarrow.struct({"name": text, "digest": text, "context": text})
    csv = file_format == "csv"
    return {
        "git_commit": text,
        "datasets": text if csv else pyarrow.list_(dataset),
        "model_versions": text if csv else pyarrow.list_(text),
        "artifact_count": pyarrow.int64(),
        "artifact_bytes": pyarrow.int64(),
        "artifact_digest": text,
    }


def lineage_columns(client: Client, runs: Sequence[Run], file_format: str) -> dict[str, list[Any]]:
    """The columns of some runs; one call a run for its files, one for 50 runs for their versions."""
    versions = _versions_by_run(client, [run.run_id for run in runs])
    trees = [client.artifacts.usage(run.run_id) for run in runs]
    lists: dict[str, list[Any]] = {
        "datasets": [[_dataset(item) for item in run.inputs] for run in runs],
        "model_versions": [versions.get(run.run_id, []) for run in runs],
    }
    if file_format == "csv":
        lists = {
            name: [json.dumps(value, ensure_ascii=False) for value in values]
            for name, values in lists.items()
        }
    return {
        "git_commit": [run.tags.get(COMMIT_TAG) for run in runs],
        **lists,
        "artifact_count": [tree.file_count for tree in trees],
        "artifact_bytes": [tree.size_bytes for tree in trees],
        "artifact_digest": [tree.digest if tree.file_count else None for tree in trees],
    }


def _dataset(item: DatasetInput) -> dict[str, str]:
    return {"name": item.name, "digest": item.digest, "context": item.tags.get(CONTEXT_TAG, "")}


def _versions_by_run(client: Client, run_ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for start in range(0, len(run_ids), RUNS_PER_SEARCH):
        ids = ", ".join(f"'{run_id}'" for run_id in run_ids[start : start + RUNS_PER_SEARCH])
        order = ["name ASC", "version_number ASC"]
        for version in client.models.search_versions(f"run_id IN ({ids})", order_by=order):
            found.setdefault(version.run_id, []).append(f"{version.name}/{version.version}")
    return found
