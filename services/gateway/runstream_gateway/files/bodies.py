"""Bodies of requests as they come in: cut into parts, or gathered when they are small."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Body:
    """Content that is still coming.

    Args:
        pieces: the content as it comes, in pieces of any size.
        size_bytes: how long it is; None when that is not known.
    """

    def __init__(self, pieces: AsyncIterator[bytes], size_bytes: int | None) -> None:
        self._pieces = pieces
        self._waiting: list[bytes] = []
        self._ended = False
        self.size_bytes = size_bytes
        self.error: Exception | None = None
        """Why it stopped coming, for those to whom it is told as something else."""

    @classmethod
    def of(cls, content: bytes) -> Body:
        """Content that is here."""

        async def pieces() -> AsyncIterator[bytes]:
            yield content

        return cls(pieces(), len(content))

    async def whole_if_small(self, limit_bytes: int) -> bytes | None:
        """All of it if it has no more than so many bytes; else None, and nothing is lost."""
        if self.size_bytes is not None and self.size_bytes > limit_bytes:
            return None
        pieces: list[bytes] = []
        total = 0
        while total <= limit_bytes:
            piece = await self.piece()
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            total += len(piece)
        self._waiting = pieces + self._waiting
        return None

    async def part(self, most_bytes: int) -> AsyncIterator[bytes]:
        """The next bytes, at most so many, in pieces as they came."""
        while most_bytes > 0:
            piece = await self.piece()
            if not piece:
                return
            if len(piece) > most_bytes:
                self._waiting.insert(0, piece[most_bytes:])
                piece = piece[:most_bytes]
            most_bytes -= len(piece)
            yield piece

    async def rest(self) -> AsyncIterator[bytes]:
        """Everything that is left, in pieces as they came."""
        while piece := await self.piece():
            yield piece

    async def piece(self) -> bytes:
        """The next piece; empty at the end."""
        if self._waiting:
            return self._waiting.pop(0)
        try:
            # Frameworks end streams with an empty piece or two.
            while not self._ended:
                piece = await anext(self._pieces, None)
                if piece is None:
                    self._ended = True
                elif piece:
                    return piece
        except Exception as error:
            self.error = error
            raise
        return b""
