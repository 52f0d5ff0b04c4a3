"""Settings of the gateway."""

from __future__ import annotations

from pydantic import Field
from runstream_common.settings import StatelessSettings


class GatewaySettings(StatelessSettings):
    """The gateway."""

    http_host: str = Field("0.0.0.0", min_length=1, description="Address of the HTTP server")  # noqa: S104
    http_port: int = Field(5000, ge=0, le=65535, description="Port of the HTTP server; 0 picks one")
    metadata_target: str = Field(
        "localhost:5050", min_length=1, description="gRPC `host:port` of the metadata service"
    )
    ingest_target: str = Field(
        "localhost:5051", min_length=1, description="gRPC `host:port` of the ingest service"
    )
    artifact_target: str = Field(
        "localhost:5052", min_length=1, description="gRPC `host:port` of the artifact service"
    )
    registry_target: str = Field(
        "localhost:5053", min_length=1, description="gRPC `host:port` of the registry service"
    )
    backend_timeout_seconds: float = Field(
        60.0, gt=0, le=3600, description="Longest time that a call of a service may take"
    )
