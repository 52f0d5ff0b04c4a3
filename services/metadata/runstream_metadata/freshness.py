"""How fresh the metrics in an answer are, as the callers of the metric write path see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.bus.messages import Position


class FreshnessSource(Protocol):
    """Knows how far the bus has been written into the store."""

    async def wait_until_applied(self, positions: Sequence[Position], timeout_ms: int) -> bool:
        """Wait until everything up to the positions is queryable; False when the time is up first."""
        ...

    async def written_up_to_ms(self, experiment_id: int) -> int:
        """Accept time of the newest points written, milliseconds since the Unix epoch; 0 when there are none."""
        ...
