"""What is done once at start with a bucket: make it, have it drop stale uploads, find out what the server verifies."""

from __future__ import annotations

import base64
import hashlib
import uuid
import zlib
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog
from minio.commonconfig import ENABLED, Filter
from minio.error import S3Error
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, LifecycleConfig, Rule

from runstream_common.object_store.api import StoreChecks
from runstream_common.object_store.errors import ObjectStoreRefused, ObjectStoreUnavailable
from runstream_common.object_store.keys import staging_key
from runstream_common.object_store.s3_errors import FIRST_SERVER_ERROR, s3_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_common.object_store.presign import Presigner
    from runstream_common.object_store.s3_client import S3Client

log = structlog.get_logger(__name__)

RULE_ID = "runstream-abort-stale-uploads"
CHECKSUM_HEADERS = {"x-amz-checksum-algorithm": "CRC32"}
"""S3 takes part checksums only of an upload that was opened for that algorithm."""
_PROBE = b"What the object store verifies is found out with this."
_EXPIRES_SECONDS = 300


def ensure_bucket(client: S3Client, bucket: str, *, create: bool) -> bool:
    """See that the bucket is there; returns whether we may look for it, which storing objects does not need.

    Args:
        client: to the server.
        bucket: its name.
        create: whether to make it when it is missing.

    Raises:
        ObjectStoreRefused: it is missing or cannot be made.
    """
    try:
        with s3_errors("look for the bucket", bucket):
            if client.bucket_exists(bucket):
                return True
    except ObjectStoreRefused as error:
        log.warning("bucket_not_looked_for", bucket=bucket, reason=error.message)
        return False
    if not create:
        raise ObjectStoreRefused(f"the object store has no bucket {bucket}")
    with s3_errors("make the bucket", bucket):
        try:
            client.make_bucket(bucket, client.given_region)
        except S3Error as error:
            # Another process made it in between.
            if error.code != "BucketAlreadyOwnedByYou":
                raise
    return True


def ensure_lifecycle(client: S3Client, bucket: str, days: int) -> None:
    """Have the server delete parts of uploads that no one finished; what it cannot or we may not is logged.

    Rules of others are never replaced: S3 only knows all rules of a bucket as one document.

    Args:
        client: to the server.
        bucket: its name.
        days: after how many; 0 leaves everything as it is.
    """
    if days == 0:
        return
    rule = Rule(
        ENABLED,
        rule_filter=Filter(prefix=""),
        rule_id=RULE_ID,
        abort_incomplete_multipart_upload=AbortIncompleteMultipartUpload(days_after_initiation=days),
    )
    try:
        with s3_errors("set the lifecycle rule", bucket):
            there = client.get_bucket_lifecycle(bucket)
            others = [each for each in (there.rules if there else []) if each.rule_id != RULE_ID]
            if others:
                log.warning("lifecycle_rule_not_set", bucket=bucket, reason="the bucket has rules of others")
                return
            client.set_bucket_lifecycle(bucket, LifecycleConfig([rule]))
    except (ObjectStoreRefused, ValueError) as error:
        # Our own job aborts expired uploads too; the rule is for the case that we are gone.
        log.warning("lifecycle_rule_not_set", bucket=bucket, reason=str(error))


def probe_checks(
    client: S3Client, presigner: Presigner, bucket: str, headers: Mapping[str, str]
) -> StoreChecks:
    """Find out what the server verifies, by sending it wrong checksums.

    Args:
        client: to the server.
        presigner: signs for the endpoint that the client uses.
        bucket: its name.
        headers: that every PUT has (encryption).

    Raises:
        ObjectStoreRefused: it does not even take right ones.
        ObjectStoreUnavailable: it cannot be reached or fails.
    """
    key = staging_key(f"probe-{uuid.uuid4().hex}")
    with s3_errors("probe checksums", bucket):
        try:
            checks = StoreChecks(
                sha256=_verifies_sha256(client, presigner, bucket, key, headers),
                part_crc32=_verifies_crc32(client, presigner, key, headers),
            )
        finally:
            client.remove_object(bucket, key)
    if not (checks.sha256 and checks.part_crc32):
        log.warning(
            "object_store_verifies_less", bucket=bucket, sha256=checks.sha256, part_crc32=checks.part_crc32
        )
    return checks


def _verifies_sha256(
    client: S3Client, presigner: Presigner, bucket: str, key: str, headers: Mapping[str, str]
) -> bool:
    def put(content: bytes) -> int:
        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
        return _put(client, presigner, key, {**headers, "x-amz-checksum-sha256": checksum}, {})

    status = put(_PROBE)
    if status >= FIRST_SERVER_ERROR:
        raise ObjectStoreUnavailable(f"the object store fails with HTTP {status} in bucket {bucket}")
    if status != HTTPStatus.OK:
        raise ObjectStoreRefused(f"the object store refused a signed PUT in bucket {bucket} (HTTP {status})")
    return put(_PROBE + b"!") != HTTPStatus.OK


def _verifies_crc32(client: S3Client, presigner: Presigner, key: str, headers: Mapping[str, str]) -> bool:
    upload_id = client.create_upload(key, {**headers, **CHECKSUM_HEADERS})

    def put(content: bytes) -> int:
        checksum = base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()
        query = {"uploadId": upload_id, "partNumber": "1"}
        return _put(client, presigner, key, {"x-amz-checksum-crc32": checksum}, query)

    try:
        return put(_PROBE) == HTTPStatus.OK and put(_PROBE + b"!") != HTTPStatus.OK
    finally:
        client.abort_upload(key, upload_id)


def _put(
    client: S3Client, presigner: Presigner, key: str, headers: Mapping[str, str], query: Mapping[str, str]
) -> int:
    sent = {**headers, "content-length": str(len(_PROBE))}
    request = presigner.sign("PUT", key, headers=sent, query=query, expires_seconds=_EXPIRES_SECONDS)
    return client.pool.request("PUT", request.url, headers=dict(request.headers), body=_PROBE).status
