"""Settings of the object store."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from runstream_common.errors import InvalidArgument
from runstream_common.object_store.location import parse_location
from runstream_common.settings_loading import SettingsBlock


def _object_store_url(value: SecretStr) -> SecretStr:
    if value.get_secret_value():
        try:
            parse_location(value.get_secret_value())
        except InvalidArgument as error:
            raise ValueError(error.violations[0].description) from None
    return value


def _public_url(value: str) -> str:
    if not value:
        return value
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must look like https://host or https://host:port")
    return value.rstrip("/")


class ObjectStoreSettings(SettingsBlock):
    """Where files live."""

    object_store_url: Annotated[SecretStr, AfterValidator(_object_store_url)] = Field(
        SecretStr(""),
        description="`s3://key:secret@host:port/bucket`, or `file:///folder` for one machine. Key and secret are "
        "percent-encoded. Options of S3: `?secure=true` for TLS (always with AWS), `region=…` (else the server is "
        "asked), `style=path` or `virtual` (where the bucket goes in URLs)",
    )
    object_store_public_url: Annotated[str, AfterValidator(_public_url)] = Field(
        "",
        description="How clients reach the store, when not as the service does: what signed URLs begin with. Empty "
        "with a folder means the host by which the client reached the deployment",
    )
    object_store_create_bucket: bool = Field(True, description="Make the bucket at start when it is missing")
    object_store_encryption: Literal["none", "sse-s3", "sse-kms"] = Field(
        "none", description="Server-side encryption asked of S3 for everything that is stored"
    )
    object_store_kms_key_id: str = Field(
        "",
        max_length=2048,
        pattern=r"^[\x21-\x7e]*$",
        description="Key of `sse-kms`; empty is the bucket's own",
    )
    object_store_abort_uploads_days: int = Field(
        7,
        ge=0,
        le=365,
        description="S3 deletes parts of uploads that no one finished after so many days (a lifecycle rule, set when "
        "the bucket has none of others); 0 sets no rule",
    )
    object_store_connections: int = Field(
        16, ge=2, le=256, description="Connections of a process to S3, and threads that use them"
    )
    object_store_ca_file: str = Field(
        "",
        description="File of CA certificates (PEM) that S3's certificate is checked with; empty is certifi's",
    )
    object_store_timeout_seconds: float = Field(
        120.0, gt=0, le=3600, description="Longest silence of S3 within an answer, then UNAVAILABLE"
    )

    @model_validator(mode="after")
    def _kms_key_is_for_kms(self) -> ObjectStoreSettings:
        if self.object_store_kms_key_id and self.object_store_encryption != "sse-kms":
            raise ValueError("object_store_kms_key_id is for object_store_encryption=sse-kms")
        return self

    @model_validator(mode="after")
    def _s3_is_at_the_root(self) -> ObjectStoreSettings:
        is_s3 = self.object_store_url.get_secret_value().startswith("s3:")
        if is_s3 and urlsplit(self.object_store_public_url).path:
            raise ValueError("object_store_public_url of S3 has no path: the signature covers the whole path")
        return self
