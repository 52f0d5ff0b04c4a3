"""An example of each topic's event as JSON, as docs/events.md and the AsyncAPI document show it.

Topics that carry JSON have it on the wire as it is here. For those that carry protobuf it is the message in proto3's own
JSON, which writes 64-bit integers as strings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "run-logged": {
        "run_id": "4f2a9c31d1e84f6c8f0e8d0c7b1a2e35",
        "series": [
            {
                "key": "loss",
                "steps": [0, 1, 2],
                "timestamps_ms": [1700000000000, 1700000000010, 1700000000020],
                "values": [0.5, 0.4, "NaN"],
            }
        ],
    },
    "run-changed": {
        "change": "RUN_CHANGE_UPDATED",
        "run_id": "4f2a9c31d1e84f6c8f0e8d0c7b1a2e35",
        "experiment_id": "3",
        "run_name": "resnet-50 seed 7",
        "status": "FAILED",
        "status_reason": "lost",
        "lifecycle_stage": "active",
        "occurred_time_ms": "1700000000000",
        "user_id": "ada",
    },
    "artifact-stored": {
        "owner_kind": "run",
        "owner_id": "4f2a9c31d1e84f6c8f0e8d0c7b1a2e35",
        "files": [
            {
                "path": "model/weights.safetensors",
                "size_bytes": "102400",
                "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "content_type": "application/octet-stream",
                "deduplicated": True,
            }
        ],
        "occurred_time_ms": "1700000000000",
    },
    "model-promoted": {
        "event_id": "0190163d-8694-739b-aea5-966c26f8ad91",
        "model": "churn",
        "sequence": 12,
        "version": 7,
        "previous_version": 6,
        "target_kind": "alias",
        "target": "champion",
        "rollback": False,
        "artifact_uri": "runstream://model-versions/0190163d86947395aea5966c26f8ad91",
        "artifact_digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "version_id": "0190163d86947395aea5966c26f8ad91",
        "run_id": "4f2a9c31d1e84f6c8f0e8d0c7b1a2e35",
        "git_commit": "3f786850e387550fdab836ed7e6dc881de23001b",
        "metrics": {"accuracy": 0.953, "val.loss": 0.21},
        "actor": "ada",
        "reason": "better on the holdout set",
        "occurred_time_ms": 1700000000000,
        "audit_hash": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "prompt": False,
    },
    "model-version-created": {
        "event_id": "0190163d-8694-739b-aea5-966c26f8ad92",
        "model": "churn",
        "version": 7,
        "version_id": "0190163d86947395aea5966c26f8ad91",
        "source": "runs:/4f2a9c31d1e84f6c8f0e8d0c7b1a2e35/model",
        "run_id": "4f2a9c31d1e84f6c8f0e8d0c7b1a2e35",
        "artifact_uri": "runstream://model-versions/0190163d86947395aea5966c26f8ad91",
        "artifact_digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "actor": "ada",
        "occurred_time_ms": 1700000000000,
        "prompt": False,
    },
    "model-changed": {
        "event_id": "0190163d-8694-739b-aea5-966c26f8ad93",
        "action": "model.renamed",
        "model": "churn-eu",
        "version": 0,
        "actor": "ada",
        "occurred_time_ms": 1700000000000,
        "details": {"old_name": "churn", "new_name": "churn-eu"},
        "prompt": False,
    },
}
