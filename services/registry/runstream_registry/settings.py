"""Settings of the registry service."""

from __future__ import annotations

from pydantic import Field, SecretStr
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
    request_expiry_interval_seconds: float = Field(
        30.0,
        gt=0,
        le=86_400,
        description="Time between two looks for requests for approval whose time is over",
    )
    webhook_allow_http: bool = Field(False, description="Let webhooks have http:// URLs; else https:// only")
    webhook_allow_private_addresses: bool = Field(
        False,
        description="Let webhooks reach private, loopback and link-local addresses: whoever may register one can then "
        "make the service call hosts of your network",
    )
    webhook_ca_file: str = Field(
        "",
        description="PEM file of the authorities that receivers' certificates come from; empty: the system's",
    )
    webhook_secret_keys: SecretStr = Field(
        SecretStr(""),
        description="Fernet keys, separated by commas, that encrypt webhook secrets in the database: the first encrypts, "
        "all decrypt. Empty: they are kept as they are",
    )
    webhook_timeout_seconds: float = Field(
        10.0, gt=0, le=120, description="Longest time that a receiver may take for its answer"
    )
    webhook_max_attempts: int = Field(
        11, ge=1, le=50, description="Attempts at a delivery, the first included, before it is given up"
    )
    webhook_first_retry_seconds: float = Field(
        5.0,
        gt=0,
        le=3600,
        description="Wait after the first failed attempt; each further one is four times as long",
    )
    webhook_max_retry_seconds: float = Field(
        21_600.0,
        gt=0,
        le=604_800,
        description="Longest wait between two attempts, also of one a receiver asks for",
    )
    webhook_concurrency: int = Field(
        64,
        ge=2,
        le=1_000,
        description="Calls in progress at once in one process; failing receivers get at most half",
    )
    webhook_concurrency_per_receiver: int = Field(
        4, ge=1, le=100, description="Calls in progress at once to one webhook in one process"
    )
    webhook_poll_seconds: float = Field(
        1.0, gt=0, le=60, description="Time between two looks for retries; new deliveries are announced"
    )
    webhook_takeover_seconds: float = Field(
        20.0,
        gt=0,
        le=600,
        description="A process that has not reported this long after the time limit of its call counts as gone; its "
        "deliveries are then made by others",
    )
    webhook_log_keep_days: int = Field(
        30, ge=1, le=3_650, description="How long deliveries are kept with their attempts"
    )
    webhook_expiry_interval_seconds: float = Field(
        3_600.0, gt=0, le=86_400, description="Time between two rounds of forgetting old deliveries"
    )
