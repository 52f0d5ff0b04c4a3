"""Rows of the table ``run`` as values, and the columns to select for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_metadata.entities import LifecycleStage, Run, RunStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

LEASE_END_MS = "(extract(epoch FROM run.lease_expires_at) * 1000)::bigint AS lease_expire_time_ms"

RUN_COLUMNS = f"""run.run_id, run.experiment_id, run.name, run.user_id, run.status, run.status_reason,
    run.start_time_ms, run.end_time_ms, run.artifact_uri, run.lifecycle_stage, {LEASE_END_MS}"""
"""What ``run_from_row`` needs, for a statement over ``metadata.run AS run``."""

STATUSES = {int(status): status for status in RunStatus}
STAGES = {int(stage): stage for stage in LifecycleStage}


def run_from_row(row: Mapping[str, Any], **data: Any) -> Run:
    """The run in a row with ``RUN_COLUMNS``.

    Args:
        row: the row.
        data: tags, params, metrics, inputs or parent_run_id, where they are known.
    """
    return Run(
        run_id=row["run_id"].hex,
        experiment_id=row["experiment_id"],
        name=row["name"],
        user_id=row["user_id"],
        status=STATUSES[row["status"]],
        status_reason=row["status_reason"],
        start_time_ms=row["start_time_ms"],
        end_time_ms=row["end_time_ms"],
        artifact_uri=row["artifact_uri"],
        lifecycle_stage=STAGES[row["lifecycle_stage"]],
        lease_expire_time_ms=row["lease_expire_time_ms"],
        **data,
    )
