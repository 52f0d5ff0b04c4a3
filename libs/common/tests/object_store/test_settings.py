"""Which store the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from runstream_common.errors import FailedPrecondition, InvalidArgument
from runstream_common.object_store.factory import make_object_store
from runstream_common.object_store.local import LocalStore
from runstream_common.object_store.location import LocalLocation, S3Location, parse_location
from runstream_common.object_store.s3 import S3Store
from runstream_common.object_store.settings import ObjectStoreSettings
from runstream_common.settings_loading import SettingsError, load_settings

from tests.support.object_store import SECRET

if TYPE_CHECKING:
    from runstream_common.object_store.api import ObjectStore


def settings(**values: object) -> ObjectStoreSettings:
    return load_settings(ObjectStoreSettings, **values)


async def secret() -> bytes:
    return SECRET


def made(**values: object) -> ObjectStore:
    return make_object_store(settings(**values), signing_secret=secret, http_host="127.0.0.1", http_port=0)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("file:///var/lib/files", LocalLocation(Path("/var/lib/files"))),
        ("file:///with%20space", LocalLocation(Path("/with space"))),
        ("s3://key:secret@host:9000/bucket", S3Location("host:9000", "bucket", "key", "secret")),
        (
            "s3://k%2Fy:s%2B%40c@host/bucket?secure=true&region=eu-west-1&style=virtual",
            S3Location("host", "bucket", "k/y", "s+@c", secure=True, region="eu-west-1", style="virtual"),
        ),
        (
            "s3://key:secret@s3.eu-west-1.amazonaws.com/bucket",
            S3Location("s3.eu-west-1.amazonaws.com", "bucket", "key", "secret", secure=True),
        ),
    ],
)
def test_urls(url: str, expected: S3Location | LocalLocation) -> None:
    assert parse_location(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://host/bucket",
        "file://host/folder",
        "file:relative",
        "s3://host:9000/bucket",
        "s3://key:hidden@host",
        "s3://key:hidden@host/bucket/below",
        "s3://key:hidden@host/bucket?regoin=x",
        "s3://key:hidden@host/bucket?secure=yes",
        "s3://key:hidden@host/bucket?style=odd",
    ],
)
def test_other_urls_are_refused_without_showing_them(url: str) -> None:
    with pytest.raises(InvalidArgument, match="object_store_url") as caught:
        parse_location(url)
    assert "hidden" not in str(caught.value)
    with pytest.raises(SettingsError, match="OBJECT_STORE_URL") as told:
        settings(object_store_url=url)
    assert "hidden" not in str(told.value)


def test_a_kms_key_needs_kms() -> None:
    with pytest.raises(SettingsError, match="sse-kms"):
        settings(object_store_encryption="sse-s3", object_store_kms_key_id="arn:key")


@pytest.mark.parametrize("url", ["files.example.org", "ftp://host", "https://host?x=1"])
def test_a_public_url_has_a_scheme_and_a_host(url: str) -> None:
    with pytest.raises(SettingsError, match="OBJECT_STORE_PUBLIC_URL"):
        settings(object_store_public_url=url)


def test_a_public_url_of_s3_has_no_path() -> None:
    folder, bucket = "file:///folder", "s3://key:secret@host/bucket"
    assert settings(object_store_url=folder, object_store_public_url="https://host/files/")
    with pytest.raises(SettingsError, match="no path"):
        settings(object_store_url=bucket, object_store_public_url="https://host/files")


def test_the_store_that_is_named(tmp_path: Path) -> None:
    local = made(object_store_url=f"file://{tmp_path}", object_store_public_url="https://files.example.org/")
    assert isinstance(local, LocalStore)
    assert local.base_url == "https://files.example.org"
    assert isinstance(made(object_store_url="s3://key:secret@host/bucket"), S3Store)
    with pytest.raises(FailedPrecondition, match="RUNSTREAM_OBJECT_STORE_URL is not set"):
        made()
