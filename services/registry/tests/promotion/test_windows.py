"""Freeze windows, also where clocks are put forward and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from runstream_registry.policy.windows import OnceWindow, WeeklyWindow, parse_moment, parse_weekly, parse_zone


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def weekly(start: str, end: str, zone: str = "") -> WeeklyWindow:
    return WeeklyWindow(parse_weekly(start), parse_weekly(end), parse_zone(zone))


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-12-19T22:59:59", False),
        ("2026-12-19T23:00:00", True),
        ("2026-12-31T22:59:59", True),
        ("2026-12-31T23:00:00", False),
    ],
)
def test_a_window_that_comes_once_has_offsets(moment, inside):
    window = OnceWindow(parse_moment("2026-12-20T00:00:00+01:00"), parse_moment("2027-01-01T00:00:00+01:00"))

    assert window.contains(utc(moment)) is inside


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-11-20T15:59:59", False),  # a Friday
        ("2026-11-20T16:00:00", True),
        ("2026-11-22T12:00:00", True),
        ("2026-11-23T07:59:59", True),
        ("2026-11-23T08:00:00", False),
        ("2026-11-25T12:00:00", False),
    ],
)
def test_a_weekly_window_may_go_over_the_end_of_the_week(moment, inside):
    assert weekly("Fri 16:00", "Mon 08:00").contains(utc(moment)) is inside


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        # In Berlin, summer time begins on Sunday, 29 March 2026: 02:00 becomes 03:00.
        ("2026-03-27T14:59:59", False),  # Friday 15:59:59, UTC+1
        ("2026-03-27T15:00:00", True),
        ("2026-03-30T05:59:59", True),  # Monday 07:59:59, UTC+2
        ("2026-03-30T06:00:00", False),
        # It ends on Sunday, 25 October 2026: 03:00 becomes 02:00.
        ("2026-10-23T13:59:59", False),  # Friday 15:59:59, UTC+2
        ("2026-10-23T14:00:00", True),
        ("2026-10-26T06:59:59", True),  # Monday 07:59:59, UTC+1
        ("2026-10-26T07:00:00", False),
    ],
)
def test_weekly_windows_follow_the_clock_on_the_wall(moment, inside):
    assert weekly("Fri 16:00", "Mon 08:00", "Europe/Berlin").contains(utc(moment)) is inside


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-10-25T00:29:00", False),  # 02:29, summer time
        ("2026-10-25T00:30:00", True),  # 02:30, summer time
        ("2026-10-25T01:00:00", False),  # 02:00 again, winter time
        ("2026-10-25T01:30:00", True),  # 02:30 again
        ("2026-10-25T02:00:00", False),  # 03:00
    ],
)
def test_an_hour_that_comes_twice_is_in_the_window_both_times(moment, inside):
    assert weekly("Sun 02:30", "Sun 03:00", "Europe/Berlin").contains(utc(moment)) is inside


@pytest.mark.parametrize("moment", ["2026-03-29T00:59:59", "2026-03-29T01:00:00", "2026-03-29T01:30:00"])
def test_a_time_that_is_left_out_is_never_in_the_window(moment):
    # 01:59:59, and then 03:00 and 03:30: there is no 02:30 on that day.
    assert weekly("Sun 02:15", "Sun 02:45", "Europe/Berlin").contains(utc(moment)) is False


def test_windows_are_told_in_words():
    assert str(weekly("Fri 16:00", "Mon 08:05", "Europe/Berlin")) == (
        "every week from Fri 16:00 to Mon 08:05 (Europe/Berlin)"
    )
