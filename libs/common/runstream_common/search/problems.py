"""How a search is refused: which field, where in it, and what would be right."""

from __future__ import annotations

from runstream_common.errors import FieldViolation, InvalidArgument

_SHOWN_LENGTH = 40
"""Characters of the user's text that a message repeats."""


class InvalidFilter(InvalidArgument):
    """A filter or order_by item cannot be understood.

    Args:
        field: ``filter`` or ``order_by[i]``.
        position: character in the text, from 0.
        description: what is wrong and what would be right.
    """

    default_reason = "INVALID_FILTER"

    def __init__(self, field: str, position: int, description: str) -> None:
        super().__init__(
            [FieldViolation(field, f"at character {position}: {description}")],
            metadata={"position": str(position)},
        )
        self.position = position


class InvalidOrderBy(InvalidFilter):
    """An order_by item names what cannot be ordered by, or the same field twice."""

    default_reason = "INVALID_ORDER_BY"


class InvalidPageToken(InvalidArgument):
    """The token is damaged, or belongs to another search."""

    default_reason = "INVALID_PAGE_TOKEN"

    def __init__(self, description: str) -> None:
        super().__init__([FieldViolation("page_token", description)])


def shown(text: str) -> str:
    """A user's text for a message: quoted, and cut when it is long."""
    return repr(text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "…")
