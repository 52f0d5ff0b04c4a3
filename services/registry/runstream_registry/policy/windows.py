"""Freeze windows: once, from one moment to another, or every week by the clock on the wall of a time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[Zz]|[+-]\d\d:\d\d)")
_WEEKLY = re.compile(r"(?P<day>[A-Za-z]{3}) (?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)")


class WindowError(ValueError):
    """A moment that cannot be read; the text says what is right."""


@dataclass(frozen=True, slots=True)
class OnceWindow:
    """From ``start``, inclusive, to ``end``, exclusive."""

    start: datetime
    end: datetime

    def contains(self, moment: datetime) -> bool:
        """Whether an aware moment lies in the window."""
        return self.start <= moment < self.end

    def __str__(self) -> str:
        return f"from {self.start.isoformat()} to {self.end.isoformat()}"


@dataclass(frozen=True, slots=True)
class WeeklyWindow:
    """From one time of the week, inclusive, to another, exclusive, as clocks in the zone show it.

    When clocks are put forward or back the window is an hour shorter or longer, as for the people who work by them. An
    hour that comes twice is in the window both times.

    Args:
        start: since Monday 00:00.
        end: since Monday 00:00; before ``start`` when the window goes over the end of the week.
    """

    start: timedelta
    end: timedelta
    zone: ZoneInfo

    def contains(self, moment: datetime) -> bool:
        """Whether an aware moment lies in the window."""
        local = moment.astimezone(self.zone)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        # Both have the same zone, so that this is the difference on the clock's face.
        since_monday = timedelta(days=local.weekday()) + (local - midnight)
        if self.start < self.end:
            return self.start <= since_monday < self.end
        return since_monday >= self.start or since_monday < self.end

    def __str__(self) -> str:
        return f"every week from {_day_time(self.start)} to {_day_time(self.end)} ({self.zone.key})"


Window: TypeAlias = OnceWindow | WeeklyWindow


def parse_moment(text: str) -> datetime:
    """A moment in RFC 3339, with its offset from UTC.

    Raises:
        WindowError: it is none.
    """
    if _MOMENT.fullmatch(text):
        try:
            return datetime.fromisoformat(text.upper())
        except ValueError as error:
            raise WindowError(f"is no moment: {error}") from error
    raise WindowError('must be RFC 3339 with an offset, e.g. "2026-12-20T00:00:00Z"')


def parse_weekly(text: str) -> timedelta:
    """A time of the week as what has passed since Monday 00:00.

    Raises:
        WindowError: it is none.
    """
    match = _WEEKLY.fullmatch(text)
    if match is None or match["day"].capitalize() not in DAYS:
        raise WindowError('must be a day and a time, e.g. "Fri 16:00"')
    day = DAYS.index(match["day"].capitalize())
    return timedelta(days=day, hours=int(match["hour"]), minutes=int(match["minute"]))


def parse_zone(name: str) -> ZoneInfo:
    """A time zone of the IANA data base; empty means UTC.

    Raises:
        WindowError: there is none of that name.
    """
    try:
        return ZoneInfo(name or "UTC")
    except (OSError, ValueError, KeyError) as error:
        # ZoneInfoNotFoundError is a KeyError; names that are paths or folders give the others.
        raise WindowError('is no time zone, e.g. "Europe/Berlin"') from error


def moment_of(time_ms: int) -> datetime:
    """The moment of a time in milliseconds since the Unix epoch."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _day_time(since_monday: timedelta) -> str:
    minutes = since_monday.seconds // 60
    return f"{DAYS[since_monday.days]} {minutes // 60:02}:{minutes % 60:02}"
