"""Clocks: the machine's, and the one that tests move."""

from __future__ import annotations

import time

import pytest
from runstream_common.clock import Clock, ManualClock, SystemClock


def test_the_system_clock_tells_milliseconds() -> None:
    clock: Clock = SystemClock()
    before = time.time() * 1000
    now = clock.now_ms()
    assert before - 1 <= now <= time.time() * 1000
    assert clock.monotonic() <= clock.monotonic()


def test_a_manual_clock_moves_both_readings_when_told() -> None:
    clock = ManualClock(now_ms=1000)
    clock.advance(1.5)
    assert (clock.now_ms(), clock.monotonic()) == (2500, 1.5)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
