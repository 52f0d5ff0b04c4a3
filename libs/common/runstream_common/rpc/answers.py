"""Answers that would not fit into a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument

if TYPE_CHECKING:
    from google.protobuf.message import Message


def check_answer_size(answer: Message, max_bytes: int, field: str) -> None:
    """Refuse to send an answer that gRPC would refuse to send.

    gRPC would do so with RESOURCE_EXHAUSTED, which says "try again" to a client.

    Args:
        answer: about to be returned.
        max_bytes: largest message.
        field: of the request, by which the client can ask for less.

    Raises:
        InvalidArgument: the answer is larger; reason PAGE_TOO_LARGE.
    """
    size_bytes = answer.ByteSize()
    if size_bytes > max_bytes:
        description = f"the answer has {size_bytes} bytes, at most {max_bytes} can be sent; ask for fewer"
        raise InvalidArgument.of(field, description, reason="PAGE_TOO_LARGE")
