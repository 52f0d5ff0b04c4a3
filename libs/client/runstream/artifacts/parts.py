"""Cutting content into parts and ranges, and work into batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

T = TypeVar("T")


class Part(NamedTuple):
    """A piece of a file.

    Attributes:
        number: from 1.
        start: first byte.
        end: one after the last byte.
    """

    number: int
    start: int
    end: int

    @property
    def size_bytes(self) -> int:
        """Size."""
        return self.end - self.start


def parts_of(size_bytes: int, part_size_bytes: int) -> Iterator[Part]:
    """All parts of a content, by number; every one but the last has the given size."""
    for number, start in enumerate(range(0, size_bytes, part_size_bytes), 1):
        yield Part(number, start, min(size_bytes, start + part_size_bytes))


def missing_parts(size_bytes: int, part_size_bytes: int, received: Mapping[int, int]) -> list[Part]:
    """The parts that still have to be sent.

    Args:
        size_bytes: size of the content.
        part_size_bytes: size of every part but the last.
        received: sizes of the parts that the store has, by number; one of another size is sent again.
    """
    return [p for p in parts_of(size_bytes, part_size_bytes) if received.get(p.number) != p.size_bytes]


def batches(
    items: Iterable[T], size_of: Callable[[T], int], max_count: int, max_bytes: int
) -> Iterator[list[T]]:
    """Items in order, in groups of at most so many items and, unless it is a single one, bytes."""
    group: list[T] = []
    total = 0
    for item in items:
        size = size_of(item)
        if group and (len(group) == max_count or total + size > max_bytes):
            yield group
            group, total = [], 0
        group.append(item)
        total += size
    if group:
        yield group
