"""Threads of an object store's own, so that waiting for a disk or a network never holds up anything else."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from runstream_common.errors import PlatformError
from runstream_common.object_store import metrics
from runstream_common.object_store.errors import ObjectStoreFull, ObjectStoreRefused, ObjectStoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

RETRY_AFTER_SECONDS = 1.0
FULL_RETRY_AFTER_SECONDS = 30.0
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Workers:
    """A bounded number of threads.

    Args:
        count: how many.
        place: what errors of the operating system are said to be about.
    """

    def __init__(self, count: int, *, place: str) -> None:
        self._place = place
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="object-store")

    async def run(self, action: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a blocking function in one of the threads.

        Args:
            action: what it does, for errors and metrics.
            function: what to call.
            args: its arguments.
            kwargs: its arguments.

        Raises:
            PlatformError: as it is.
            ConnectionError: as it is.
            ObjectStoreRefused: the operating system does not let us.
            ObjectStoreFull: there is no room.
            ObjectStoreUnavailable: it failed otherwise (input/output error).
        """

        def call() -> T:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                metrics.CALL_SECONDS.labels(action).observe(time.perf_counter() - started)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except ConnectionError:
            raise
        except OSError as error:
            told = self._told(action, error)
            metrics.CALL_FAILED.labels(action, told.reason).inc()
            raise told from error
        except PlatformError as error:
            metrics.CALL_FAILED.labels(action, error.reason).inc()
            raise

    def check_running(self) -> None:
        """For long work within a thread, to ask now and then: a process that is stopping does not wait for it.

        Raises:
            ObjectStoreUnavailable: the store is being stopped.
        """
        if self._stopping.is_set():
            raise ObjectStoreUnavailable("the object store is being stopped")

    def stop(self) -> None:
        """Take no more work; what runs is finished unless it asks ``check_running``."""
        self._stopping.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _told(
        self, action: str, error: OSError
    ) -> ObjectStoreRefused | ObjectStoreFull | ObjectStoreUnavailable:
        message = f"cannot {action} in {self._place}: {error.strerror or type(error).__name__}"
        if error.errno in _REFUSED:
            return ObjectStoreRefused(message)
        if error.errno in _FULL:
            return ObjectStoreFull(message, retry_after_seconds=FULL_RETRY_AFTER_SECONDS)
        return ObjectStoreUnavailable(message, retry_after_seconds=RETRY_AFTER_SECONDS)
