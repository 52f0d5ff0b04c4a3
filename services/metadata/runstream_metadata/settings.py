"""Settings of the metadata service."""

from __future__ import annotations

from pydantic import Field
from runstream_common.settings import ServiceSettings


class MetadataSettings(ServiceSettings):
    """The metadata service."""

    artifact_root: str = Field(
        "mlflow-artifacts:",
        min_length=1,
        max_length=1000,
        description="Where artifacts of an experiment without a location of its own go; `/<id>` is put behind",
    )
    lease_sweep_interval_seconds: float = Field(
        5.0, gt=0, le=3600, description="Time between two looks for runs whose heartbeats stopped"
    )
    lease_sweep_batch_runs: int = Field(
        500, ge=1, le=10_000, description="Most runs that are marked lost in one transaction"
    )
