"""Settings of the metadata service."""

from __future__ import annotations

from pydantic import Field
from runstream_common.settings import ServiceSettings
from runstream_contract.limits import MAX_MESSAGE_BYTES


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
    run_logged_batch_messages: int = Field(
        500, ge=1, le=100_000, description="Most messages of `run-logged` that one transaction stores"
    )
    run_logged_batch_bytes: int = Field(
        MAX_MESSAGE_BYTES,
        ge=64 * 1024,
        le=1024 * 1024 * 1024,
        description="Most bytes of `run-logged` that one transaction stores; several times as much memory is used",
    )
    run_logged_batch_wait_ms: int = Field(
        20, ge=1, le=10_000, description="Longest time that a batch of `run-logged` is gathered"
    )
    merge_interval_seconds: float = Field(
        15.0,
        gt=0,
        le=86_400,
        description="Time between two rounds of merging small chunks of metric histories",
    )
    batch_id_keep_hours: int = Field(
        24 * 14,
        ge=1,
        le=24 * 365,
        description="How long a batch is recognised when it comes again; longer than the topic's retention "
        "and than clients spool",
    )
    batch_expiry_interval_seconds: float = Field(
        600.0, gt=0, le=86_400, description="Time between two rounds of forgetting old batch ids"
    )
