"""Time as something that is passed in, so that tests need not wait for it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the time is."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment, never going back; for measuring spans of time."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment, never going back."""
        return time.monotonic()


class ManualClock:
    """A clock that moves when it is told to; for tests of anything that has a Clock passed in."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic = 0.0

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970-01-01 UTC."""
        return self._now_ms

    def monotonic(self) -> float:
        """Seconds moved so far."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both readings forward.

        Args:
            seconds: how far, not negative.

        Raises:
            ValueError: the clock would go back.
        """
        if seconds < 0:
            raise ValueError("a clock does not go back")
        self._monotonic += seconds
        self._now_ms += round(seconds * 1000)
