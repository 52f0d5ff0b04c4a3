"""What may go wrong with an object store, as errors that cross a service's edge."""

from __future__ import annotations

from runstream_common.errors import FailedPrecondition, NotFound, ResourceExhausted, Unavailable


class ObjectStoreUnavailable(Unavailable):
    """The store cannot be reached or is failing; the same call may work later."""

    default_reason = "OBJECT_STORE_UNAVAILABLE"


class ObjectStoreFull(ResourceExhausted):
    """There is no room for more; reading and deleting still work."""

    default_reason = "OBJECT_STORE_FULL"


class ObjectStoreRefused(FailedPrecondition):
    """The store answers, but does not let us do it: credentials, permissions or settings are wrong."""

    default_reason = "OBJECT_STORE_REFUSED"


class ObjectNotFound(NotFound):
    """There is no object under the key."""

    default_reason = "OBJECT_NOT_FOUND"


class UploadNotFound(NotFound):
    """The store knows no such multipart upload."""

    default_reason = "STORE_UPLOAD_NOT_FOUND"


class PartsNotAccepted(FailedPrecondition):
    """Parts are missing, too small or not as listed, so the upload cannot be completed."""

    default_reason = "PARTS_NOT_ACCEPTED"


class ChecksumMismatch(FailedPrecondition):
    """The bytes that arrived are not those that were announced."""

    default_reason = "CHECKSUM_MISMATCH"
