"""Making of ids."""

import secrets
from uuid import UUID

import uuid_utils


def new_batch_id() -> str:
    """A UUIDv7 (RFC 9562) in its usual form: ordered by time, so that indexes over it append."""
    return str(uuid_utils.uuid7())


def new_run_id() -> str:
    """A random run id: 32 lowercase hexadecimal characters, as MLflow makes them."""
    return secrets.token_hex(16)


def uuid7_at(time_ms: int) -> UUID:
    """The least UUIDv7 of a millisecond; for range conditions over ids ordered by time.

    Args:
        time_ms: milliseconds since the Unix epoch (UTC).
    """
    return UUID(int=(time_ms << 80) | (0x7 << 76) | (0b10 << 62))
