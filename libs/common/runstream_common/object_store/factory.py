"""The object store that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import FailedPrecondition
from runstream_common.object_store.local import LocalServing, LocalStore
from runstream_common.object_store.location import LocalLocation, parse_location
from runstream_common.object_store.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runstream_common.clock import Clock
    from runstream_common.object_store.api import ObjectStore
    from runstream_common.object_store.settings import ObjectStoreSettings


def make_object_store(
    settings: ObjectStoreSettings,
    *,
    signing_secret: Callable[[], Awaitable[bytes]],
    http_host: str,
    http_port: int,
    clock: Clock | None = None,
) -> ObjectStore:
    """The store, not started.

    Args:
        settings: which one.
        signing_secret: gives at least 32 random bytes, the same in every process that shares a folder; only asked for by
            the ``start`` of a folder.
        http_host: address at which a folder is served.
        http_port: port at which a folder is served; 0 picks one.
        clock: for the expiry of URLs.

    Raises:
        FailedPrecondition: RUNSTREAM_OBJECT_STORE_URL is not set.
    """
    url = settings.object_store_url.get_secret_value()
    if not url:
        raise FailedPrecondition("RUNSTREAM_OBJECT_STORE_URL is not set", reason="SETTING_MISSING")
    location = parse_location(url)
    if isinstance(location, LocalLocation):
        serving = LocalServing(signing_secret, http_host, http_port, settings.object_store_public_url)
        return LocalStore(location.root, serving, clock=clock)
    return S3Store(
        location,
        public_url=settings.object_store_public_url,
        create_bucket=settings.object_store_create_bucket,
        encryption=settings.object_store_encryption,
        kms_key_id=settings.object_store_kms_key_id,
        abort_uploads_days=settings.object_store_abort_uploads_days,
        connections=settings.object_store_connections,
        timeout_seconds=settings.object_store_timeout_seconds,
        ca_file=settings.object_store_ca_file,
        clock=clock,
    )
