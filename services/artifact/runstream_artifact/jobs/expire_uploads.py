"""Clears away uploads that were given up or ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.periodic import run_periodically

if TYPE_CHECKING:
    from runstream_artifact.abandonment import UploadExpiry


async def run_expire_uploads(expiry: UploadExpiry, interval_seconds: float) -> None:
    """Clear away until cancelled.

    Args:
        interval_seconds: time between two rounds.
    """
    await run_periodically("expire_uploads", expiry.expire_all, interval_seconds)
