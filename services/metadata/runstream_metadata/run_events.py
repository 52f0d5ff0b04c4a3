"""What the service tells others about runs: events on ``run-changed``, and ids to those who watch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from runstream_common.bus.messages import CONTENT_TYPE, EVENT_ID, EVENT_TYPE
from runstream_common.bus.outbox import KEY_HEADER
from runstream_common.bus.topics import RUN_CHANGED
from runstream_contract.ids import new_batch_id
from runstream_proto.events.v1.run_changed_pb2 import RunChange, RunChanged

from runstream_metadata.store.outbox_rows import OutboxRow

if TYPE_CHECKING:
    from runstream_metadata.entities import Run

__all__ = ["RunChange", "RunListener", "run_changed"]

RunListener: TypeAlias = Callable[[Sequence[str]], None]
"""Takes the ids of runs that changed, after the commit; must neither block nor raise."""


def run_changed(run: Run, change: RunChange.ValueType, occurred_time_ms: int) -> OutboxRow:
    """The event for the outbox.

    Args:
        run: as it is after the change.
        occurred_time_ms: milliseconds since the Unix epoch.
    """
    event = RunChanged(
        change=change,
        run_id=run.run_id,
        experiment_id=str(run.experiment_id),
        run_name=run.name,
        status=run.status.name,
        status_reason=run.status_reason,
        lifecycle_stage=run.lifecycle_stage.name.lower(),
        occurred_time_ms=occurred_time_ms,
        user_id=run.user_id,
    )
    headers = {
        EVENT_ID: new_batch_id(),
        EVENT_TYPE: RUN_CHANGED.message,
        CONTENT_TYPE: RUN_CHANGED.content_types[0],
        KEY_HEADER: run.run_id,
    }
    return OutboxRow(RUN_CHANGED.name, event.SerializeToString(), json.dumps(headers))
