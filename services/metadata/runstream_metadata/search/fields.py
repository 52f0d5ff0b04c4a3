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

_LISTED_TEXT = FieldRule(ValueKind.TEXT, TEXTUAL, in_list=True)
_METRIC_OF_MODEL = FieldRule(ValueKind.NUMBER, NUMERIC)
_KEYED_TEXT_OF_MODEL = FieldRule(ValueKind.TEXT, TEXTUAL, in_list=True, orderable=False)

LOGGED_MODEL_FIELDS = FieldTable(
    entities={
        "attributes": Entity.ATTRIBUTE,
        "metrics": Entity.METRIC,
        "params": Entity.PARAM,
        "tags": Entity.TAG,
    },
    keyed={
        Entity.METRIC: _METRIC_OF_MODEL,
        Entity.PARAM: _KEYED_TEXT_OF_MODEL,
        Entity.TAG: _KEYED_TEXT_OF_MODEL,
    },
    named={
        Entity.ATTRIBUTE: {
            "name": _LISTED_TEXT,
            "model_id": _LISTED_TEXT,
            "model_type": _LISTED_TEXT,
            "source_run_id": _LISTED_TEXT,
            "status": _LISTED_TEXT,
            "artifact_location": _LISTED_TEXT,
            "experiment_id": _LISTED_TEXT,
            "lifecycle_stage": _LISTED_TEXT,
            "creation_timestamp": _TIME,
            "last_updated_timestamp": _TIME,
        },
    },
    aliases={
        **dict.fromkeys(("creation_time", "creation_timestamp_ms"), "creation_timestamp"),
        "last_updated_timestamp_ms": "last_updated_timestamp",
    },
    example="metrics.accuracy",
)
"""Fields of logged models. Source: MLflow's `search_logged_model_utils` and the columns of its table."""
