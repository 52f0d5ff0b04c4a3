"""Periodic work: an interval with jitter, and patience with a database that is away."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog

from runstream_common.errors import PlatformError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)


async def run_periodically(name: str, work: Callable[[], Awaitable[int]], interval_seconds: float) -> None:
    """Do the work until cancelled.

    Args:
        name: how it shows in logs.
        work: returns how many things it did; errors that pass by themselves are waited for, others are raised.
        interval_seconds: time between two rounds; jitter keeps replicas apart.
    """
    while True:
        await asyncio.sleep(interval_seconds * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        try:
            done = await work()
        except PlatformError as error:
            if not error.retryable:
                raise
            log.warning("job_postponed", job=name, reason=error.reason, error=error.message)
        else:
            if done:
                log.info("job_done", job=name, count=done)
