"""Waiting for what a read must show, as its request asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from runstream_metadata.api import mapping

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runstream_proto.common.v1.position_pb2 import BusPosition

    from runstream_metadata.watermarks import Watermarks


class Waiting(Protocol):
    """The fields of a request that asks for fresh data."""

    @property
    def wait_for(self) -> Iterable[BusPosition]:
        """Positions that must be applied."""
        ...

    @property
    def wait_timeout_ms(self) -> int:
        """Longest wait, milliseconds; 0 means the default."""
        ...

    @property
    def wait_for_latest(self) -> bool:
        """Whether everything must be applied that the bus had accepted."""
        ...


async def wait_as_asked(watermarks: Watermarks, request: Waiting) -> bool:
    """Wait for the positions, or for all that the bus had accepted; whether it was reached in time.

    Raises:
        InvalidArgument: the time is out of bounds, or a position is of another topic.
    """
    timeout_ms = mapping.wait_timeout_ms(request.wait_timeout_ms)
    if request.wait_for_latest:
        # Acknowledged positions are among them.
        return await watermarks.wait_until_latest(timeout_ms)
    return await watermarks.wait_until_applied(mapping.positions(request.wait_for), timeout_ms)
