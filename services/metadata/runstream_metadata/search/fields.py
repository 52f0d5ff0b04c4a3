"""Which fields runs and experiments have, by which names, and what may be asked of each.

Source: MLflow's `SearchUtils` and `SearchExperimentsUtils`.
"""

from __future__ import annotations

from runstream_common.search.fields import EQUALITY, NUMERIC, TEXTUAL, FieldRule, FieldTable, ValueKind
from runstream_common.search.syntax import Entity

DATASET_CONTEXT_TAG = "mlflow.data.context"
"""The tag of a dataset's link that ``dataset.context`` stands for (MLflow)."""

_METRIC = FieldRule(ValueKind.NUMBER, NUMERIC)
_KEYED_TEXT = FieldRule(ValueKind.TEXT, TEXTUAL, null_check=True)
_TEXT = FieldRule(ValueKind.TEXT, TEXTUAL)
_TIME = FieldRule(ValueKind.NUMBER, NUMERIC)
_DATASET = FieldRule(ValueKind.TEXT, TEXTUAL, in_list=True, orderable=False)

RUN_FIELDS = FieldTable(
    entities={
        **dict.fromkeys(("metrics", "metric"), Entity.METRIC),
        **dict.fromkeys(("params", "param", "parameters", "parameter"), Entity.PARAM),
        **dict.fromkeys(("tags", "tag"), Entity.TAG),
        **dict.fromkeys(("attributes", "attribute", "attr", "run"), Entity.ATTRIBUTE),
        **dict.fromkeys(("datasets", "dataset"), Entity.DATASET),
    },
    keyed={Entity.METRIC: _METRIC, Entity.PARAM: _KEYED_TEXT, Entity.TAG: _KEYED_TEXT},
    named={
        Entity.ATTRIBUTE: {
            "run_id": FieldRule(ValueKind.TEXT, TEXTUAL, in_list=True),
            "run_name": _TEXT,
            "user_id": _TEXT,
            "status": _TEXT,
            "artifact_uri": _TEXT,
            "start_time": _TIME,
            "end_time": _TIME,
        },
        Entity.DATASET: {"name": _DATASET, "digest": _DATASET, "context": _DATASET},
    },
    aliases={
        **dict.fromkeys(("created", "Created"), "start_time"),
        **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name"),
    },
)
"""Fields of runs."""

EXPERIMENT_FIELDS = FieldTable(
    entities={
        **dict.fromkeys(("attributes", "attribute"), Entity.ATTRIBUTE),
        **dict.fromkeys(("tags", "tag"), Entity.TAG),
    },
    keyed={Entity.TAG: FieldRule(ValueKind.TEXT, TEXTUAL, null_check=True, orderable=False)},
    named={
        Entity.ATTRIBUTE: {
            "name": _TEXT,
            "experiment_id": FieldRule(ValueKind.QUOTED_INTEGER, EQUALITY, in_list=True),
            "creation_time": _TIME,
            "last_update_time": _TIME,
        }
    },
)
"""Fields of experiments."""
