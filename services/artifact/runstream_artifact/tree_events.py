"""Events on ``artifact-stored``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from runstream_common.bus.messages import CONTENT_TYPE, EVENT_ID, EVENT_TYPE
from runstream_common.bus.outbox import KEY_HEADER
from runstream_common.bus.topics import ARTIFACT_STORED
from runstream_contract.ids import new_batch_id
from runstream_proto.events.v1.artifact_stored_pb2 import ArtifactStored
from runstream_proto.events.v1.artifact_stored_pb2 import StoredFile as StoredFileMessage

from runstream_artifact.store.outbox_rows import OutboxRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_artifact.entities import Owner, StoredFile

MAX_EVENT_FILES = 1_000
"""Files in one event."""


class NewlyVisible(NamedTuple):
    """A file that became visible, and whether its content was stored before."""

    file: StoredFile
    deduplicated: bool


def artifact_stored(owner: Owner, files: Sequence[NewlyVisible], now_ms: int) -> OutboxRow:
    """The event for the outbox.

    Args:
        owner: whose files.
        files: 1 to ``MAX_EVENT_FILES``.
        now_ms: milliseconds since the Unix epoch.
    """
    event = ArtifactStored(
        owner_kind=owner.kind.name.lower(),
        owner_id=owner.id,
        files=[
            StoredFileMessage(
                path=file.path,
                size_bytes=file.size_bytes,
                digest=file.digest.hex(),
                content_type=file.content_type,
                deduplicated=deduplicated,
            )
            for file, deduplicated in files
        ],
        occurred_time_ms=now_ms,
    )
    headers = {
        EVENT_ID: new_batch_id(),
        EVENT_TYPE: ARTIFACT_STORED.message,
        CONTENT_TYPE: ARTIFACT_STORED.content_types[0],
        KEY_HEADER: owner.id,
    }
    return OutboxRow(ARTIFACT_STORED.name, event.SerializeToString(), json.dumps(headers))
