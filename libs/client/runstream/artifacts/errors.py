"""What may go wrong with files on this side."""

from __future__ import annotations

from runstream_common.errors import FailedPrecondition, InvalidArgument, PlatformError, Unavailable


class LocalPathRefused(InvalidArgument):
    """A local path cannot be stored: a symlink, a socket, a name that is no Unicode."""

    default_reason = "LOCAL_PATH_REFUSED"


class LocalFileChanged(FailedPrecondition):
    """A file was written to while it was being uploaded; what had been sent did not become visible."""

    default_reason = "LOCAL_FILE_CHANGED"


class LocalFileUnreadable(FailedPrecondition):
    """A file that was found cannot be read."""

    default_reason = "LOCAL_FILE_UNREADABLE"


class UploadRefused(FailedPrecondition):
    """A file did not become visible; the reason is the service's."""

    default_reason = "UPLOAD_REFUSED"


class ContentCorrupt(PlatformError):
    """What was downloaded does not have the recorded SHA-256; nothing was put in its place."""

    default_reason = "CONTENT_CORRUPT"


class ObjectStoreAway(Unavailable):
    """The object store could not be reached, or kept failing, until the attempts were used up."""

    default_reason = "OBJECT_STORE_UNAVAILABLE"


class ObjectStoreRefused(FailedPrecondition):
    """The object store answered a signed request with an error that repeating does not mend."""

    default_reason = "OBJECT_STORE_REFUSED"


class Cancelled(Exception):
    """Ends a worker because another one failed or the user interrupted; never reaches the caller."""
