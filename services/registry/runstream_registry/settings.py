"""Settings of the registry service."""

from __future__ import annotations

from pydantic import Field
from runstream_common.settings import ServiceSettings


class RegistrySettings(ServiceSettings):
    """The registry service."""

    metadata_target: str = Field(
        "localhost:5050",
        min_length=1,
        description="gRPC `host:port` of the metadata service, asked for runs and their metrics",
    )
    artifact_target: str = Field(
        "localhost:5052",
        min_length=1,
        description="gRPC `host:port` of the artifact service, which copies and verifies files of versions",
    )
    create_batch_versions: int = Field(
        100, ge=1, le=1_000, description="Most versions that are created in one transaction"
    )
