"""The errors that cross a service's edge, and the two that steer a consumer.

    PlatformError
    ├── InvalidArgument      the request is wrong, field by field; sending it again never helps
    │   └── OutOfRange       a position beyond what exists
    ├── NotFound
    ├── AlreadyExists
    ├── FailedPrecondition   the request is right, the state is not (a deleted run, a set param)
    ├── Aborted              lost against a concurrent writer (retryable)
    ├── PermissionDenied
    ├── Unauthenticated
    ├── ResourceExhausted    a bound was hit; carries when to come back (retryable)
    ├── DeadlineExceeded     (retryable)
    ├── Unavailable          a part that we need is away (retryable)
    ├── Unimplemented        the server does not know the call
    └── Internal             our fault; carries an error id and nothing else

Services subclass these with domain names (``class RunNotActive(FailedPrecondition)``) and set
``default_reason``. Only the standard library is imported here: the SDK shares this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing that is wrong with one field of a request."""

    field: str
    """Path of the field as the caller wrote it, such as ``series[2].values[17]``."""
    description: str
    """What is wrong and what would be right, as a sentence fit for a user."""


class PlatformError(Exception):
    """Something that a caller is told about, with a code, a reason and facts.

    Args:
        message: for a person; shown to the client, so it holds no internals.
        reason: UPPER_SNAKE, stable, for programs; the class's ``default_reason`` if not given.
        metadata: facts a program may act on (identifiers, limits); small, since it travels in a header.
    """

    default_reason: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False
    """Whether the same request may succeed later without anyone changing it."""

    def __init__(
        self, message: str, *, reason: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata: dict[str, str] = dict(metadata or {})

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, reason={self.reason!r}, metadata={self.metadata!r})"


class InvalidArgument(PlatformError):
    """The request breaks a rule; every breach that was found is listed.

    Args:
        violations: what is wrong, field by field; may be empty when ``message`` says it all.
        message: the summary; made from the violations if not given.
    """

    default_reason = "INVALID_ARGUMENT"

    def __init__(
        self,
        violations: Iterable[FieldViolation] = (),
        *,
        message: str | None = None,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.violations: tuple[FieldViolation, ...] = tuple(violations)
        super().__init__(message or _summary(self.violations), reason=reason, metadata=metadata)

    @classmethod
    def of(cls, field: str, description: str, *, reason: str | None = None) -> Self:
        """The error for one wrong field."""
        return cls([FieldViolation(field, description)], reason=reason)


class OutOfRange(InvalidArgument):
    """A position lies beyond what exists."""

    default_reason = "OUT_OF_RANGE"


class NotFound(PlatformError):
    """What the request names does not exist."""

    default_reason = "NOT_FOUND"


class AlreadyExists(PlatformError):
    """What the request would create exists."""

    default_reason = "ALREADY_EXISTS"


class FailedPrecondition(PlatformError):
    """The request is right but the state does not allow it."""

    default_reason = "FAILED_PRECONDITION"


class Aborted(PlatformError):
    """A concurrent writer won; the whole operation may be tried again."""

    default_reason = "ABORTED"
    retryable = True


class PermissionDenied(PlatformError):
    """The caller is known and may not do this."""

    default_reason = "PERMISSION_DENIED"


class Unauthenticated(PlatformError):
    """The caller is not known."""

    default_reason = "UNAUTHENTICATED"


class _RetryAfter(PlatformError):
    """An error that says when to come back."""

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.retry_after_seconds = retry_after_seconds


class ResourceExhausted(_RetryAfter):
    """A bound was hit; come back after ``retry_after_seconds`` (None: the server cannot say)."""

    default_reason = "RESOURCE_EXHAUSTED"


class Unavailable(_RetryAfter):
    """A part that the request needs is away; come back after ``retry_after_seconds``."""

    default_reason = "UNAVAILABLE"


class DeadlineExceeded(PlatformError):
    """The work took longer than it was given; it may or may not have happened."""

    default_reason = "DEADLINE_EXCEEDED"
    retryable = True


class Unimplemented(PlatformError):
    """The server does not know the call, usually because it is older than the client."""

    default_reason = "UNIMPLEMENTED"


class Internal(PlatformError):
    """A fault on our side; the metadata's ``error_id`` finds it in the server's log."""

    default_reason = "INTERNAL"


class PoisonMessage(Exception):
    """A consumed message can never be applied; it goes to the dead letter and nothing behind it waits.

    Args:
        reason: UPPER_SNAKE, stable; dashboards and replays key on it.
        detail: what to fix, for a person.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class RetryLater(Exception):
    """A consumed batch cannot be applied now; it is held and tried again after ``delay_seconds``."""

    def __init__(self, delay_seconds: float, detail: str = "") -> None:
        super().__init__(detail or f"retry in {delay_seconds:g} s")
        self.delay_seconds = delay_seconds
        self.detail = detail


_SUMMARY_VIOLATIONS = 3
"""How many violations the summary spells out; the rest are in ``violations``."""


def _summary(violations: tuple[FieldViolation, ...]) -> str:
    if not violations:
        return "invalid request"
    shown = "; ".join(f"{item.field}: {item.description}" for item in violations[:_SUMMARY_VIOLATIONS])
    more = len(violations) - _SUMMARY_VIOLATIONS
    return f"{shown}; and {more} more" if more > 0 else shown
