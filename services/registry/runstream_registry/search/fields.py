"""Which fields models and versions have, by which names, and what may be asked of each.

Source: MLflow's `SearchModelUtils` and `SearchModelVersionUtils`; filters by time, ``stage`` and ``user_id``, ``IS NULL`` of
tags, and orders by creation are ours.
"""

from __future__ import annotations

from runstream_common.search.fields import NUMERIC, TEXTUAL, FieldRule, FieldTable, ValueKind
from runstream_common.search.syntax import Entity

_ENTITIES = {
    **dict.fromkeys(("attributes", "attribute"), Entity.ATTRIBUTE),
    **dict.fromkeys(("tags", "tag"), Entity.TAG),
}
_TAG = FieldRule(ValueKind.TEXT, TEXTUAL, null_check=True, orderable=False)
_LISTED_TEXT = FieldRule(ValueKind.TEXT, TEXTUAL, in_list=True)
_TEXT = FieldRule(ValueKind.TEXT, TEXTUAL, orderable=False)
_NUMBER = FieldRule(ValueKind.NUMBER, NUMERIC)

MODEL_FIELDS = FieldTable(
    entities=_ENTITIES,
    keyed={Entity.TAG: _TAG},
    named={
        Entity.ATTRIBUTE: {
            "name": _LISTED_TEXT,
            "creation_timestamp": _NUMBER,
            "last_updated_timestamp": _NUMBER,
        }
    },
    aliases={"timestamp": "last_updated_timestamp"},
    example="name or tags.team",
)
"""Fields of models and prompts."""

VERSION_FIELDS = FieldTable(
    entities=_ENTITIES,
    keyed={Entity.TAG: _TAG},
    named={
        Entity.ATTRIBUTE: {
            "name": _LISTED_TEXT,
            "version_number": FieldRule(ValueKind.NUMBER, NUMERIC, quoted_too=True),
            "run_id": FieldRule(ValueKind.TEXT, TEXTUAL, in_list=True, orderable=False),
            "source_path": _TEXT,
            "stage": _TEXT,
            "user_id": _TEXT,
            "creation_timestamp": _NUMBER,
            "last_updated_timestamp": _NUMBER,
        }
    },
    example="name or tags.team",
)
"""Fields of versions."""
