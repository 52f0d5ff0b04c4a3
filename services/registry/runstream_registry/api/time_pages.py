"""Page tokens of lists that are ordered by time, newest first, and then by a UUID."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from runstream_common.search.keyset import PRESENT, KeyAt, KeyShape
from runstream_common.search.page_tokens import decode_token, encode_token, search_digest

_SHAPES: Final = (KeyShape(int), KeyShape(UUID))


def encode_time_token(last: tuple[int, str], *scope: object) -> str:
    """The token for what comes after the last item.

    Args:
        last: its time in milliseconds and its id.
        scope: what else the list was made from; the token fits no other list.
    """
    time_ms, item_id = last
    return encode_token(search_digest(*scope), (KeyAt(PRESENT, time_ms), KeyAt(PRESENT, UUID(item_id))))


def decode_time_token(token: str, *scope: object) -> tuple[int, str] | None:
    """The last item of the page before; None for the first page.

    Raises:
        InvalidPageToken: the token is damaged or of another list.
    """
    position = decode_token(token, search_digest(*scope), _SHAPES)
    return None if position is None else (position[0].value, str(position[1].value))
