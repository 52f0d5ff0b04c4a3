"""Signature Version 4 as AWS documents it, and what else S3's signed requests say."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from runstream_common.clock import ManualClock
from runstream_common.errors import InvalidArgument
from runstream_common.object_store.location import S3Location
from runstream_common.object_store.presign import Presigner
from runstream_common.object_store.s3 import Encryption, S3Store

from tests.support.object_store import sha256

LOCATION = S3Location("s3.example.org", "bucket", "AKIA", "secret", secure=True, region="eu-west-1")


def test_the_documented_example() -> None:
    """From "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)" of Amazon S3's documentation."""
    clock = ManualClock(int(datetime(2013, 5, 24, tzinfo=UTC).timestamp() * 1000))
    presigner = Presigner(
        "https://examplebucket.s3.amazonaws.com",
        region="us-east-1",
        access_key="AKIAIOSFODNN7EXAMPLE",
        secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        clock=clock,
    )
    request = presigner.sign("GET", "test.txt", headers={}, query={}, expires_seconds=86400)
    assert request.url == (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    assert request.expire_time_ms == clock.now_ms() + 86_400_000


def store(encryption: Encryption = "none", *, kms_key_id: str = "", public_url: str = "") -> S3Store:
    """A store that signs without a server: what `start` does after it asked the server."""
    made = S3Store(
        LOCATION, encryption=encryption, kms_key_id=kms_key_id, public_url=public_url, clock=ManualClock()
    )
    made._presigner = made._presigner_for(public_url or LOCATION.base_url, "eu-west-1")
    return made


def put_headers(made: S3Store) -> tuple[dict[str, str], set[str]]:
    """Headers of a PUT, and the names that its signature covers."""
    request = made.sign_put(
        "blobs/x", size_bytes=3, sha256=sha256(b"abc"), content_type="text/plain", expires_seconds=60
    )
    names = parse_qs(urlsplit(request.url).query)["X-Amz-SignedHeaders"][0]
    return dict(request.headers), set(names.split(";"))


@pytest.mark.parametrize(
    ("encryption", "kms_key_id", "expected"),
    [
        ("none", "", {}),
        ("sse-s3", "", {"x-amz-server-side-encryption": "AES256"}),
        ("sse-kms", "", {"x-amz-server-side-encryption": "aws:kms"}),
        (
            "sse-kms",
            "arn:key",
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "arn:key",
            },
        ),
    ],
)
def test_encryption_is_signed(encryption: Encryption, kms_key_id: str, expected: dict[str, str]) -> None:
    headers, signed = put_headers(store(encryption, kms_key_id=kms_key_id))
    assert {name: value for name, value in headers.items() if "encryption" in name} == expected
    assert signed == {*headers, "host"}
    assert {"content-length", "content-type", "x-amz-checksum-sha256"} <= signed


def test_the_public_url_is_what_clients_see() -> None:
    request = store(public_url="http://files.example.org:8080").sign_get(
        "blobs/x", file_name="x", content_type="", expires_seconds=60
    )
    assert request.url.startswith("http://files.example.org:8080/bucket/blobs/x?")


def test_the_bucket_may_be_in_the_host_name() -> None:
    virtual = S3Location("s3.example.org", "bucket", "AKIA", "secret", region="eu-west-1", style="virtual")
    presigner = S3Store(virtual)._presigner_for("http://s3.example.org", "eu-west-1")
    url = presigner.sign("GET", "blobs/x", headers={}, query={}, expires_seconds=60).url
    assert url.startswith("http://bucket.s3.example.org/blobs/x?")


@pytest.mark.parametrize("content_type", ["text/plain\r\nx-evil: 1", "tëxt"])
def test_headers_are_printable(content_type: str) -> None:
    with pytest.raises(InvalidArgument, match="content-type"):
        store().sign_put(
            "blobs/x", size_bytes=1, sha256=sha256(b"a"), content_type=content_type, expires_seconds=60
        )


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(LOCATION)
