"""Making of ids."""

import secrets

import uuid_utils


def new_batch_id() -> str:
    """A UUIDv7 (RFC 9562) in its usual form: ordered by time, so that indexes over it append."""
    return str(uuid_utils.uuid7())


def new_run_id() -> str:
    """A random run id: 32 lowercase hexadecimal characters, as MLflow makes them."""
    return secrets.token_hex(16)
