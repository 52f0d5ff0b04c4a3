"""Threads that work for one transfer and end together."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Self, TypeVar

from runstream.artifacts.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from runstream.artifacts.cancelling import Cancellation

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """A bounded number of threads, started as they are needed. A context manager that leaves none behind.

    When one task fails, or the user interrupts, the others are told to end and are waited for.

    Args:
        threads: at most so many.
        name: of the threads.
        cancellation: told when a task fails.
    """

    def __init__(self, threads: int, name: str, cancellation: Cancellation) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._cancellation = cancellation

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Work on items at the same time; the results in their order. Raises what the first failing one raised."""
        futures = [self._executor.submit(work, item) for item in items]
        return self._results(futures)

    def stream(self, work: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
        """The same for many items, which are taken only as far ahead as given."""
        waiting: list[Future[R]] = []
        for item in items:
            waiting.append(self._executor.submit(work, item))
            if len(waiting) > ahead:
                yield self._results([waiting.pop(0)], waiting)[0]
        yield from self._results(waiting)

    def _results(self, futures: list[Future[R]], others: Iterable[Future[Any]] = ()) -> list[R]:
        everything = [*futures, *others]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = [f for f in everything if f.done() and not f.cancelled() and f.exception() is not None]
            if not failed:
                return [future.result() for future in futures]
        except BaseException:
            self._end(everything)
            raise
        self._end(everything)
        errors = [f.exception() for f in everything if not f.cancelled() and f.exception() is not None]
        # The others only tell that they were ended because of it.
        causes = [error for error in errors if not isinstance(error, Cancelled)]
        raise next(iter(causes), None) or Cancelled

    def _end(self, futures: Iterable[Future[Any]]) -> None:
        self._cancellation.set()
        pending = [future for future in futures if not future.cancel()]
        wait(pending)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        if kind is not None:
            self._cancellation.set()
        self._executor.shutdown(wait=True, cancel_futures=True)
