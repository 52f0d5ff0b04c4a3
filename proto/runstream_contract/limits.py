"""Limits of the public contract. Sources: MLflow's server for keys and values, our own for batches."""

MAX_KEY_LENGTH = 250
"""Characters of a metric, param or tag key (MLflow `MAX_ENTITY_KEY_LENGTH`)."""

MAX_PARAM_VALUE_LENGTH = 6_000
"""Characters kept of a param value; longer ones are cut (MLflow `MAX_PARAM_VAL_LENGTH`)."""

MAX_TAG_VALUE_LENGTH = 8_000
"""Characters kept of a run tag's value; longer ones are cut (MLflow `MAX_TAG_VAL_LENGTH`)."""

MAX_EXPERIMENT_TAG_VALUE_LENGTH = 20_000
"""Characters of an experiment tag's value; longer ones are refused (MLflow)."""

MAX_EXPERIMENT_NAME_LENGTH = 500
"""Characters of an experiment's name (MLflow)."""

MAX_PARAMS_PER_BATCH = 100
"""Params in one LogBatch (MLflow runs/log-batch)."""

MAX_TAGS_PER_BATCH = 100
"""Tags in one LogBatch (MLflow runs/log-batch)."""

MAX_DATASET_NAME_LENGTH = 500
"""Characters of a dataset's name (MLflow)."""

MAX_DATASET_DIGEST_LENGTH = 36
"""Characters of a dataset's digest (MLflow)."""

MAX_INPUT_TAG_VALUE_LENGTH = 500
"""Characters of the value of a tag on a dataset link (MLflow)."""

MAX_POINTS_PER_BATCH = 1_000_000
"""Metric points in one message."""

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Bytes of one message, on gRPC and on the bus."""

MAX_SERIES_PER_BATCH = 100_000
"""Metric keys in one message; keeps the per-key work of one message bounded."""
