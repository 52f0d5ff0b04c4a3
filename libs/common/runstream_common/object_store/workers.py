"""Threads of an object store's own, so that waiting for a disk or a network never holds up anything else."""

from __future__ import annotations

import asyncio
import errno
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from runstream_common.object_store.errors import ObjectStoreRefused, ObjectStoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

RETRY_AFTER_SECONDS = 1.0
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Workers:
    """A bounded number of threads.

    Args:
        count: how many.
        place: what errors of the operating system are said to be about.
    """

    def __init__(self, count: int, *, place: str) -> None:
        self._place = place
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="object-store")

    async def run(self, action: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a blocking function in one of the threads.

        Args:
            action: what it does, for errors.
            function: what to call.
            args: its arguments.
            kwargs: its arguments.

        Raises:
            ConnectionError: as it is.
            ObjectStoreRefused: the operating system does not let us.
            ObjectStoreUnavailable: it failed otherwise (no room, input/output error).
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))
        except ConnectionError:
            raise
        except OSError as error:
            message = f"cannot {action} in {self._place}: {error.strerror or type(error).__name__}"
            if error.errno in _REFUSED:
                raise ObjectStoreRefused(message) from error
            raise ObjectStoreUnavailable(message, retry_after_seconds=RETRY_AFTER_SECONDS) from error

    def stop(self) -> None:
        """Take no more work; what runs is finished."""
        self._threads.shutdown(wait=False, cancel_futures=True)
