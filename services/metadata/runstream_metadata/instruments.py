"""Prometheus metrics of this service's metric path, with what they mean."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_metadata.metric_batches import SeriesKey, SeriesWrite

POINTS = Counter("runstream_metric_points_stored", "Points written to chunks, repeats included.")
BATCHES = Counter("runstream_metric_batches_stored", "Batches whose points were written.")
REPEATED_BATCHES = Counter("runstream_metric_batches_repeated", "Batches left out because they are stored.")
CHUNKS = Counter("runstream_metric_chunks_stored", "Chunks written by the consumer.")
FLUSH_POINTS = Histogram(
    "runstream_metric_flush_points",
    "Points of one transaction.",
    buckets=(1, 10, 100, 1_000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000),
)
MERGED_CHUNKS = Counter("runstream_metric_chunks_merged", "Small chunks that were replaced by larger ones.")
REMOVED_REPEATS = Counter("runstream_metric_repeats_removed", "Exact repeats of points dropped by the merge.")
FORGOTTEN_BATCHES = Counter(
    "runstream_metric_batch_ids_forgotten", "Batch ids that passed their keeping time."
)
APPLIED_OFFSET = Gauge(
    "runstream_watermark_applied_offset",
    "Every message of the partition below this offset has been handled.",
    ["topic", "partition"],
)
APPLIED_TIME = Gauge(
    "runstream_watermark_applied_time_seconds",
    "Publish time of the newest handled message, seconds since the Unix epoch.",
    ["topic", "partition"],
)
EXPERIMENT_TIME = Gauge(
    "runstream_watermark_experiment_time_seconds",
    "Accept time that the experiment is written up to by this process, seconds since the Unix epoch.",
    ["experiment_id"],
)
MAX_EXPERIMENTS = 1000
"""Experiments that the gauge keeps: those written last, so that its series stay bounded."""

_experiments: OrderedDict[int, None] = OrderedDict()


def mark_experiments(written_up_to_ms: Mapping[int, int]) -> None:
    """Move the experiments' watermarks after a committed transaction."""
    for experiment_id, time_ms in written_up_to_ms.items():
        EXPERIMENT_TIME.labels(experiment_id).set(time_ms / 1000)
        _experiments[experiment_id] = None
        _experiments.move_to_end(experiment_id)
    while len(_experiments) > MAX_EXPERIMENTS:
        oldest, _ = _experiments.popitem(last=False)
        EXPERIMENT_TIME.remove(oldest)


def count_flush(batch_count: int, writes: Mapping[SeriesKey, SeriesWrite]) -> None:
    """Count one committed transaction."""
    chunks = [chunk for write in writes.values() for chunk in write.chunks]
    points = sum(chunk.point_count for chunk in chunks)
    BATCHES.inc(batch_count)
    CHUNKS.inc(len(chunks))
    POINTS.inc(points)
    FLUSH_POINTS.observe(points)
