"""How far a writer's points reach on the bus."""

from __future__ import annotations

from runstream.query.results import Position


class Positions:
    """The greatest acknowledged offset of each partition; the caller serializes calls."""

    def __init__(self) -> None:
        self._offsets: dict[tuple[str, int], int] = {}

    def advance(self, topic: str, partition: int, offset: int) -> None:
        """Count an acknowledged message in; they may come in any order."""
        place = (topic, partition)
        self._offsets[place] = max(offset, self._offsets.get(place, offset))

    def merge(self, other: Positions) -> None:
        """Count in what another writer knows."""
        for position in other.known():
            self.advance(position.topic, position.partition, position.offset)

    def known(self) -> tuple[Position, ...]:
        """One position a partition."""
        return tuple(Position(*place, offset) for place, offset in list(self._offsets.items()))
