"""The audit trail's content and hashes, as docs/promotion.md defines them for everybody who wants to check them.

An entry's content is JSON text with sorted keys; its hash is SHA-256 over the hash of the entry before it in the
same chain (32 zero bytes for the first) followed by the content in UTF-8.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_registry.change_entities import Change

FIRST_PREVIOUS_HASH = bytes(32)


def canonical_json(value: Mapping[str, Any]) -> str:
    """JSON text that is the same for equal values: sorted keys, no blanks, characters beyond ASCII as they are.

    Raises:
        ValueError: a NaN or infinity, which JSON has no word for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def entry_content(change: Change, sequence: int, time_ms: int) -> str:
    """The content of the entry that records a change.

    Args:
        sequence: number within the chain, from 1.
        time_ms: milliseconds since the Unix epoch.
    """
    return canonical_json(
        {
            "action": change.action,
            "actor": change.actor,
            "after": change.after,
            "before": change.before,
            "chain": change.chain,
            "reason": change.reason,
            "sequence": sequence,
            "subject": change.subject,
            "time_ms": time_ms,
            "version": change.version,
        }
    )


def entry_hash(previous_hash: bytes, content: str) -> bytes:
    """The hash of an entry, 32 bytes."""
    return hashlib.sha256(previous_hash + content.encode()).digest()
