"""Settings of the artifact service."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from runstream_common.object_store.api import (
    GIBIBYTE,
    MAX_EXPIRES_SECONDS,
    MAX_PUT_BYTES,
    MEBIBYTE,
    MIN_PART_BYTES,
)
from runstream_common.object_store.settings import ObjectStoreSettings
from runstream_common.settings import ServiceSettings


class ArtifactSettings(ServiceSettings, ObjectStoreSettings):
    """The artifact service."""

    metadata_target: str = Field(
        "localhost:5050",
        min_length=1,
        description="gRPC `host:port` of the metadata service, asked whether runs exist",
    )
    artifact_http_host: str = Field(
        "0.0.0.0",  # noqa: S104 - clients fetch from it
        min_length=1,
        description="Address of the HTTP server that serves a local folder's signed URLs",
    )
    artifact_http_port: int = Field(
        5072, ge=0, le=65535, description="Port of the HTTP server that serves a local folder's signed URLs"
    )
    artifact_url_expiry_seconds: int = Field(
        3600, ge=1, le=MAX_EXPIRES_SECONDS, description="How long signed requests work"
    )
    upload_expiry_hours: int = Field(
        24, ge=1, le=24 * 30, description="How long an upload may rest before it is given up"
    )
    upload_expiry_interval_seconds: float = Field(
        60.0, gt=0, le=86_400, description="Time between two looks for uploads that were given up"
    )
    multipart_threshold_bytes: int = Field(
        64 * MEBIBYTE,
        ge=0,
        le=MAX_PUT_BYTES,
        description="Largest file that is sent in one piece",
    )
    multipart_part_bytes: int = Field(
        32 * MEBIBYTE,
        ge=MIN_PART_BYTES,
        le=GIBIBYTE,
        description="Size of a part; files of more than 10,000 such parts get larger ones",
    )
    verification_parallel: int = Field(
        16, ge=1, le=256, description="Objects whose arrival is checked at the same time"
    )
    hashing_parallel: int = Field(
        2, ge=1, le=64, description="Objects that are read and hashed at the same time"
    )
    completion_wait_seconds: float = Field(
        30.0,
        gt=0,
        le=600,
        description="How long a completion waits for large files to be hashed; beyond, clients are told to ask again",
    )
    run_cache_size: int = Field(
        100_000, ge=1, le=10_000_000, description="Runs whose state is remembered (about 200 bytes each)"
    )
    run_cache_seconds: float = Field(
        10.0, gt=0, le=3600, description="How long an active run is trusted without asking again"
    )
    run_cache_stale_seconds: float = Field(
        3600.0,
        ge=0,
        le=86_400,
        description="How long a run known as active is still trusted while the metadata service is away",
    )

    @model_validator(mode="after")
    def _uploads_outlive_their_requests(self) -> Self:
        if self.upload_expiry_hours * 3600 < self.artifact_url_expiry_seconds:
            raise ValueError("upload_expiry_hours must be no less than artifact_url_expiry_seconds")
        return self
