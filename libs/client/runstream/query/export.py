"""Runs and metric histories as files; bounded in memory, and whole or not there at all.

Parquet                                          CSV
params, tags: map<string, string>                the same as JSON objects
metrics: map<string, double> (latest values)     the same as a JSON object
times: timestamp[ms, UTC]                        the same as ISO 8601
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from runstream_common.errors import InvalidArgument

from runstream.query import frames
from runstream.query.export_lineage import lineage_columns, lineage_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from runstream.query.client import Client
    from runstream.query.results import Run
    from runstream.query.results_metrics import MetricHistory

FORMATS = ("parquet", "csv")
RUNS_PER_GROUP = 1000
# Row groups of about this many points: small enough for memory, big enough to compress and to skip when read.
POINTS_PER_GROUP = 262_144
# A stream takes up to 1,000 runs; fewer keep the server's answer short-lived.
RUNS_PER_STREAM = 100

_RUN_TEXTS = (
    "run_id",
    "experiment_id",
    "run_name",
    "user_id",
    "status",
    "status_reason",
    "artifact_uri",
    "lifecycle_stage",
    "parent_run_id",
)


class Writer(Protocol):
    """What both formats' writers of pyarrow can do."""

    def write_table(self, table: Any) -> None:
        """Append a table."""
        ...


def format_of(path: Path, given: str | None) -> str:
    """The format asked for, or that of the file's suffix.

    Raises:
        InvalidArgument: it is none that is known.
    """
    name = given or path.suffix.removeprefix(".").lower()
    if name not in FORMATS:
        raise InvalidArgument.of(
            "format", f"{name or path.name!r} is no format; give --format parquet or csv"
        )
    return name


def export_runs(
    runs: Iterable[Run], path: Path, file_format: str, *, lineage_from: Client | None = None
) -> int:
    """Write runs, one row each; returns how many.

    Args:
        runs: read once, in groups of 1,000.
        path: replaced when everything has been written.
        file_format: "parquet" or "csv".
        lineage_from: where the columns of `export_lineage` are read; None leaves them out.

    Raises:
        ImportError: pyarrow is not installed; the text names the extra.
        OSError: the file cannot be written.
    """
    pyarrow = frames.arrow()
    fields = _run_schema(pyarrow, file_format)
    if lineage_from is not None:
        fields |= lineage_schema(pyarrow, file_format)
    schema = pyarrow.schema(fields)
    count = 0
    with _writer(path, schema, file_format) as writer:
        for group in _grouped(runs, RUNS_PER_GROUP):
            columns = _run_columns(group, file_format)
            if lineage_from is not None:
                columns |= lineage_columns(lineage_from, group, file_format)
            writer.write_table(pyarrow.table(columns, schema=schema))
            count += len(group)
    return count


def export_metrics(
    client: Client,
    run_ids: Iterable[str],
    keys: Sequence[str],
    path: Path,
    file_format: str,
    on_points: Callable[[int], None] = lambda _: None,
) -> int:
    """Write whole metric histories, one row a point (run_id, key, step, timestamp, value); returns how many.

    Args:
        client: where from.
        run_ids: read once.
        keys: metric keys; none mean all.
        path: replaced when everything has been written.
        file_format: "parquet" or "csv".
        on_points: told the count of each group that was written.

    Raises:
        ImportError: pyarrow is not installed; the text names the extra.
        OSError: the file cannot be written.
    """
    pyarrow = frames.arrow()
    text = (
        pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
        if file_format == "parquet"
        else pyarrow.string()
    )
    schema = pyarrow.schema(
        {
            "run_id": text,
            "key": text,
            "step": pyarrow.int64(),
            "timestamp": pyarrow.timestamp("ms", tz="UTC"),
            "value": pyarrow.float64(),
        }
    )
    count = 0
    with _writer(path, schema, file_format) as writer:
        for group in _point_groups(client, run_ids, keys):
            table = pyarrow.concat_tables([_part_table(pyarrow, part, schema) for part in group])
            writer.write_table(table.combine_chunks())
            count += table.num_rows
            on_points(table.num_rows)
    return count


def _point_groups(
    client: Client, run_ids: Iterable[str], keys: Sequence[str]
) -> Iterator[list[MetricHistory]]:
    group: list[MetricHistory] = []
    points = 0
    for ids in _grouped(run_ids, RUNS_PER_STREAM):
        for part in client.iter_metric_histories(ids, keys):
            group.append(part)
            points += len(part)
            if points >= POINTS_PER_GROUP:
                yield group
                group, points = [], 0
    if group:
        yield group


def _part_table(pyarrow: Any, part: MetricHistory, schema: Any) -> Any:
    def repeated(value: str) -> Any:
        return pyarrow.repeat(pyarrow.scalar(value), len(part))

    timestamps = pyarrow.array(part.timestamps_ms).cast(schema.field("timestamp").type)
    columns = [repeated(part.run_id), repeated(part.key), part.steps, timestamps, part.values]
    arrays = [pyarrow.array(c).cast(field.type) for c, field in zip(columns, schema, strict=True)]
    return pyarrow.table(arrays, schema=schema)


def _run_schema(pyarrow: Any, file_format: str) -> dict[str, Any]:
    text, time = pyarrow.string(), pyarrow.timestamp("ms", tz="UTC")
    maps = {"params": text, "metrics": pyarrow.float64(), "tags": text}
    csv = file_format == "csv"
    return {
        **dict.fromkeys(_RUN_TEXTS, text),
        "start_time": time,
        "end_time": time,
        **{name: text if csv else pyarrow.map_(text, kind) for name, kind in maps.items()},
    }


def _run_columns(runs: Sequence[Run], file_format: str) -> dict[str, list[Any]]:
    names = (*_RUN_TEXTS, "start_time", "end_time")
    columns = {name: [getattr(run, name) for run in runs] for name in names}
    write = _json_object if file_format == "csv" else _pairs
    return {
        **columns,
        **{name: [write(getattr(run, name)) for run in runs] for name in ("params", "metrics", "tags")},
    }


def _pairs(values: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(values.items())


def _json_object(values: dict[str, Any]) -> str:
    safe = {
        key: frames.json_number(value) if isinstance(value, float) else value for key, value in values.items()
    }
    return json.dumps(safe, ensure_ascii=False)


@contextmanager
def _writer(path: Path, schema: Any, file_format: str) -> Iterator[Writer]:
    """A writer to a file beside the target, which takes the target's place at the end and is gone after an error."""
    module = frames.require("pyarrow.parquet" if file_format == "parquet" else "pyarrow.csv", extra="arrow")
    kind = module.ParquetWriter if file_format == "parquet" else module.CSVWriter
    partial = path.with_name(f".{path.name}.partial")
    options = {"compression": "zstd"} if file_format == "parquet" else {}
    try:
        with kind(str(partial), schema, **options) as writer:
            yield writer
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _grouped(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    group = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
