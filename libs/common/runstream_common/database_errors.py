"""What PostgreSQL says, as errors that a caller understands: SQLSTATE and constraint to the taxonomy."""

from __future__ import annotations

import asyncpg
from sqlalchemy import exc

from runstream_common.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    PlatformError,
    Unavailable,
)

DRIVER_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What the driver raises. The last one is no bug of ours: it comes when the server dies in the middle of an answer."""

RETRY_AFTER_SECONDS = 1.0
"""How long a client waits when the database is away; a restart takes about that long."""

# PostgreSQL documentation, appendix A.
_CONFLICTS = frozenset({"40001", "40P01", "55P03"})
_AWAY_CLASSES = frozenset({"08", "53", "58"})
_AWAY = frozenset({"57P01", "57P02", "57P03", "57P05", "25006", "25P03", "25P04"})
# Text that the database cannot hold (a NUL character, a lone surrogate) and numbers beyond the column.
_UNSTORABLE = frozenset({"22021", "22P05", "22003", "22001", "22008"})


def map_database_error(error: BaseException) -> PlatformError | None:
    """The error to raise instead of one that SQLAlchemy, asyncpg or the socket raised.

    Returns:
        AlreadyExists for a unique or exclusion constraint (its name is in ``metadata["constraint"]``),
        FailedPrecondition for a foreign key, InvalidArgument for a value that cannot be stored, Aborted for
        deadlocks, serialization failures and lock timeouts, DeadlineExceeded for a cancelled statement,
        Unavailable when the database or a free connection is away; None when it is our own fault.
    """
    original = error.orig if isinstance(error, exc.DBAPIError) else error
    cause = getattr(original, "__cause__", None)
    driver_error = cause if isinstance(cause, asyncpg.PostgresError) else original
    sqlstate = getattr(driver_error, "sqlstate", None) or getattr(original, "sqlstate", None)
    if isinstance(sqlstate, str):
        mapped = _from_sqlstate(sqlstate, driver_error)
        if mapped is not None:
            return mapped
    return _from_connection(error, original)


def _from_sqlstate(sqlstate: str, error: BaseException | None) -> PlatformError | None:
    if sqlstate.startswith("23"):
        return _from_constraint(sqlstate, getattr(error, "constraint_name", None))
    if sqlstate in _CONFLICTS:
        return Aborted("a concurrent change got in the way; try again", reason="CONCURRENT_CHANGE")
    if sqlstate == "57014":
        return DeadlineExceeded("the database took too long", reason="DATABASE_TIMEOUT")
    if sqlstate in _UNSTORABLE:
        return InvalidArgument(message="a value cannot be stored", reason="VALUE_NOT_STORABLE")
    if sqlstate in _AWAY or sqlstate[:2] in _AWAY_CLASSES:
        return _away()
    return None


def _from_constraint(sqlstate: str, constraint: str | None) -> PlatformError | None:
    metadata = {"constraint": constraint} if constraint else {}
    if sqlstate in {"23505", "23P01"}:
        return AlreadyExists("it exists already", metadata=metadata)
    if sqlstate == "23503":
        return FailedPrecondition("what it refers to does not exist", metadata=metadata)
    return None


def _from_connection(error: BaseException, original: BaseException | None) -> PlatformError | None:
    if isinstance(error, exc.TimeoutError):
        return Unavailable(
            "every database connection is in use",
            reason="DATABASE_BUSY",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return _away()
    if isinstance(original, TimeoutError):
        # asyncpg's own timer: the server did not even answer the statement timeout.
        return DeadlineExceeded("the database took too long", reason="DATABASE_TIMEOUT")
    if isinstance(original, (OSError, asyncpg.PostgresConnectionError, asyncpg.InternalClientError)):
        return _away()
    if isinstance(original, asyncpg.InterfaceError) and _lost_connection(original):
        return _away()
    return None


def _lost_connection(error: asyncpg.InterfaceError) -> bool:
    # asyncpg has no class for these; ValueError ones are wrong arguments, which are our fault.
    text = str(error)
    return not isinstance(error, ValueError) and ("closed" in text or "connection was" in text)


def _away() -> Unavailable:
    return Unavailable(
        "the database is away", reason="DATABASE_UNAVAILABLE", retry_after_seconds=RETRY_AFTER_SECONDS
    )
