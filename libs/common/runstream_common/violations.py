"""Gathers everything that is wrong with a request, so that its sender learns all of it at once."""

from __future__ import annotations

from runstream_common.errors import FieldViolation, InvalidArgument


class Violations:
    """Collects what is wrong with one request."""

    def __init__(self) -> None:
        self._found: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        """Note one breach."""
        self._found.append(FieldViolation(field, description))

    def check(self) -> None:
        """Refuse the request if anything was noted.

        Raises:
            InvalidArgument: with every breach.
        """
        if self._found:
            raise InvalidArgument(self._found)
