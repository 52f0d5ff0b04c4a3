"""Settings of the ingest service."""

from pydantic import Field
from runstream_common.settings import ServiceSettings


class IngestSettings(ServiceSettings):
    """The ingest service"""

    metadata_target: str = Field(
        "localhost:5050",
        min_length=1,
        description="gRPC `host:port` of the metadata service, asked whether runs exist",
    )
    run_cache_size: int = Field(
        200_000, ge=1, le=10_000_000, description="Runs whose state ingest remembers (about 200 bytes each)"
    )
    run_cache_seconds: float = Field(
        10.0, gt=0, le=3600, description="How long an active run is trusted without asking again"
    )
    run_cache_negative_seconds: float = Field(
        2.0, gt=0, le=3600, description="How long an unknown or deleted run is refused without asking again"
    )
    run_cache_stale_seconds: float = Field(
        3600.0,
        ge=0,
        le=86_400,
        description="How long a run known as active is still trusted while the metadata service is away",
    )
    in_flight_max_bytes: int = Field(
        48 * 1024 * 1024,
        ge=16 * 1024 * 1024,
        le=8 * 1024 * 1024 * 1024,
        description="Bytes of batches accepted and not yet durable; beyond, unary calls get RESOURCE_EXHAUSTED and "
        "streams are read no further",
    )
