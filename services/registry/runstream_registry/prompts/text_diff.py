"""Unified diffs of prompts, in bounded time."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_COMPARED: Final = 4_000_000
"""Pairs of lines that are compared line by line: about a second at worst. Of larger texts the middle is replaced whole."""


def unified_diff(before: Sequence[str], after: Sequence[str], *, names: tuple[str, str]) -> str:
    """What changed, as ``diff -u`` writes it; empty when nothing did.

    Args:
        before: lines without their ends.
        after: in the same form.
        names: of the two texts, for the head.
    """
    if len(before) * len(after) <= MAX_COMPARED:
        return "\n".join(difflib.unified_diff(before, after, *names, lineterm=""))
    return _whole_middle(before, after, names)


def _whole_middle(before: Sequence[str], after: Sequence[str], names: tuple[str, str]) -> str:
    if before == after:
        return ""
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    removed, added = before[start : len(before) - end], after[start : len(after) - end]
    head = f"@@ -{start + 1},{len(removed)} +{start + 1},{len(added)} @@"
    lines = [f"-{line}" for line in removed] + [f"+{line}" for line in added]
    return "\n".join([f"--- {names[0]}", f"+++ {names[1]}", head, *lines])


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """How many items are the same from the start."""
    pairs = zip(left, right, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
