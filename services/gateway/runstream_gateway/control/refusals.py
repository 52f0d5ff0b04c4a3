"""What refusals are in HTTP, for programs and for people alike."""

from __future__ import annotations

from typing import Final

from runstream_common import errors

# The most derived class of the error decides.
_STATUSES: Final[dict[type[errors.PlatformError], tuple[int, str]]] = {
    errors.InvalidArgument: (400, "Invalid request"),
    errors.NotFound: (404, "Not found"),
    errors.AlreadyExists: (409, "Already exists"),
    errors.FailedPrecondition: (409, "Refused in the present state"),
    errors.Aborted: (409, "Changed meanwhile"),
    errors.PermissionDenied: (403, "Not allowed"),
    errors.Unauthenticated: (401, "Not known"),
    errors.ResourceExhausted: (429, "Too much"),
    errors.DeadlineExceeded: (504, "Took too long"),
    errors.Unavailable: (503, "Not available"),
    errors.Unimplemented: (501, "Not known to the service"),
}


def status_of(error: errors.PlatformError) -> tuple[int, str]:
    """HTTP status of a refusal, and a title for it."""
    return next(
        (_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES), (500, "Internal error")
    )
