"""What an S3 server answers, as our errors."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError, MaxRetryError

from runstream_common.object_store.errors import (
    ObjectNotFound,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    PartsNotAccepted,
    UploadNotFound,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runstream_common.errors import PlatformError

RETRY_AFTER_SECONDS = 1.0
FIRST_SERVER_ERROR = 500

_TRANSIENT = frozenset(
    {
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "XMinioServerNotInitialized",
    }
)
_BAD_PARTS = frozenset(
    {
        "BadDigest",
        "EntityTooSmall",
        "InvalidPart",
        "InvalidPartOrder",
        "InvalidRequest",
        "MalformedXML",
        "XAmzContentChecksumMismatch",
    }
)
_MISSING_OBJECT = frozenset({"NoSuchKey", "NoSuchVersion", "ResourceNotFound"})


@contextmanager
def s3_errors(action: str, bucket: str) -> Iterator[None]:
    """Turn what the client raises into our errors.

    Args:
        action: what was tried, for the text: ``read``, ``complete the upload``.
        bucket: of what.

    Raises:
        ObjectNotFound: no such object.
        UploadNotFound: no such multipart upload.
        PartsNotAccepted: the parts do not fit.
        ObjectStoreUnavailable: it cannot be reached or fails.
        ObjectStoreRefused: it does not let us.
    """
    try:
        yield
    except S3Error as error:
        raise _for_code(error.code or "", action, bucket) from error
    except ServerError as error:
        raise _unavailable(action, bucket, f"HTTP {error.status_code}") from error
    except InvalidResponseError as error:
        status = getattr(error, "_code", 0)
        if status >= FIRST_SERVER_ERROR:
            raise _unavailable(action, bucket, f"HTTP {status}") from error
        raise _refused(action, bucket, f"HTTP {status}") from error
    except (HTTPError, OSError) as error:
        # The client's own error only says that it gave up; why is one level below.
        cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
        raise _unavailable(action, bucket, type(cause).__name__) from error
    except MinioException as error:
        raise _refused(action, bucket, str(error)) from error


def _for_code(code: str, action: str, bucket: str) -> PlatformError:
    if code in _MISSING_OBJECT:
        return ObjectNotFound("no such object")
    if code == "NoSuchUpload":
        return UploadNotFound("no such upload")
    if code in _BAD_PARTS:
        return PartsNotAccepted(f"the object store does not accept the parts: {code}")
    if code in _TRANSIENT:
        return _unavailable(action, bucket, code)
    return _refused(action, bucket, code)


def _unavailable(action: str, bucket: str, detail: str) -> ObjectStoreUnavailable:
    return ObjectStoreUnavailable(
        f"the object store is away: cannot {action} in bucket {bucket} ({detail})",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def _refused(action: str, bucket: str, detail: str) -> ObjectStoreRefused:
    return ObjectStoreRefused(f"the object store refused to {action} in bucket {bucket} ({detail})")
