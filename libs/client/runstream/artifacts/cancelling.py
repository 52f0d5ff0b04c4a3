"""Ending the workers of one transfer together."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runstream.artifacts.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Cancellation:
    """Told once to everything that works for a transfer; thread-safe."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._hooks: dict[object, Callable[[], object]] = {}

    @property
    def is_set(self) -> bool:
        """Whether it was told."""
        return self._event.is_set()

    def set(self) -> None:
        """Tell it; what is registered is called in this thread."""
        self._event.set()
        with self._lock:
            hooks = list(self._hooks.values())
        for hook in hooks:
            hook()

    def check(self) -> None:
        """Raise Cancelled when it was told."""
        if self._event.is_set():
            raise Cancelled

    def wait(self, seconds: float) -> None:
        """Pause; raises Cancelled as soon as it is told."""
        if self._event.wait(seconds):
            raise Cancelled

    @contextmanager
    def calling(self, hook: Callable[[], object]) -> Iterator[None]:
        """Have something called when it is told, such as the end of a call under way."""
        key = object()
        with self._lock:
            self._hooks[key] = hook
        try:
            self.check()
            yield
        finally:
            with self._lock:
                del self._hooks[key]
