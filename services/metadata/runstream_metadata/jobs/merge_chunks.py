"""Merges small chunks of metric histories in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.periodic import run_periodically

if TYPE_CHECKING:
    from runstream_metadata.chunk_merge import ChunkMerge


async def run_merge_chunks(merge: ChunkMerge, interval_seconds: float) -> None:
    """Merge what is worth it, until cancelled.

    Args:
        interval_seconds: time between two rounds.
    """
    await run_periodically("merge_chunks", merge.merge_all, interval_seconds)
