"""What is stored and asked in the read benchmarks: the same numbers for the peer and for us.

Values are a multiplicative hash of the row number, so both sides can make them where it is
cheapest for them (SQL for the peer) and still hold identical data.
"""

BATCH_POINTS = 1000
"""Points a request: MLflow's limit for one log-batch call."""

BATCH_KEYS = 10
"""Keys a batch: a training loop that logs ten series, 100 steps at a time."""

SEARCH_RUNS = 100_000
SEARCH_METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")
SEARCH_PARAMS = ("learning_rate", "batch_size", "optimizer", "layers")
SEARCH_TAGS = ("team", "dataset", "stage")
SEARCH_FILTER = "metrics.loss < 0.5"
SEARCH_ORDER_BY = "metrics.accuracy DESC"
SEARCH_PAGE = 100

HISTORY_POINTS = 1_000_000
HISTORY_KEY = "loss"
CHART_POINTS = 1000

REGISTRY_MODELS = 1_000
REGISTRY_VERSIONS = 100_000
VERSION_TAG_KEYS = ("team", "stage", "task")
VERSION_TAGS = [{"key": key, "value": "bench"} for key in VERSION_TAG_KEYS]
VERSION_FILTER = "tags.team = 'v7'"
VERSION_ORDER_BY = "creation_timestamp DESC"
VERSION_PAGE = 100

SMALL_FILES = 2_000
SMALL_FILE_BYTES = 10 * 1024
LARGE_FILE_BYTES = 2 * 1024**3

START_MS = 1_750_000_000_000
"""Timestamp of step 0, ms since the epoch; later steps are one second apart."""

_MULTIPLIER = 2_654_435_761  # Knuth's: close to 2**32 over the golden ratio, so neighbours spread
_SALT_STEP = 1_000_003
_MODULUS = 2**32


def unit_value(row: int, salt: int) -> float:
    """Return the value of a row, in [0, 1), independent for each salt.

    Args:
        row: Number of the run or step, 0 to 10**8.
        salt: Position of the key among its fellows, 0 to 15.
    """
    return (row + salt * _SALT_STEP) * _MULTIPLIER % _MODULUS / _MODULUS


def unit_value_sql(row: str, salt: int) -> str:
    """Return the PostgreSQL expression that equals `unit_value` for a bigint expression `row`."""
    return f"((({row}) + {salt * _SALT_STEP})::bigint * {_MULTIPLIER} % {_MODULUS})::float8 / {_MODULUS}"


def label(row: int, salt: int) -> str:
    """Return the param or tag value of a row: one of 50, so a value is shared by many runs."""
    return f"v{(row + salt) % 50}"


def label_sql(row: str, salt: int) -> str:
    """Return the PostgreSQL expression that equals `label` for a bigint expression `row`."""
    return f"'v' || ((({row}) + {salt}) % 50)"
