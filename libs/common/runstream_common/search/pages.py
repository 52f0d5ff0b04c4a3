"""Sizes of pages."""

from __future__ import annotations

from runstream_common.errors import InvalidArgument


def checked_page_size(page_size: int, *, default: int, at_most: int) -> int:
    """The page size with its default filled in for 0.

    Raises:
        InvalidArgument: it is negative or more than ``at_most``.
    """
    if not 0 <= page_size <= at_most:
        raise InvalidArgument.of("page_size", f"must be 1 to {at_most}, or 0 for {default}")
    return page_size or default
