"""Every setting that services share, in blocks; each is an environment variable ``RUNSTREAM_<FIELD>``.

Settings are read once at start by ``load_settings`` and passed down; nothing else reads the environment.
``python -m runstream_common.settings`` prints the table of docs/configuration.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode
from runstream_contract.limits import MAX_MESSAGE_BYTES

from runstream_common.errors import FailedPrecondition
from runstream_common.object_store.settings import ObjectStoreSettings
from runstream_common.settings_loading import SettingsBlock, SettingsError, env_name, load_settings

__all__ = [
    "BusSettings",
    "DatabaseSettings",
    "GrpcSettings",
    "ObjectStoreSettings",
    "ObservabilitySettings",
    "ProcessSettings",
    "ServiceSettings",
    "SettingsBlock",
    "SettingsError",
    "StatelessSettings",
    "load_settings",
    "settings_table",
]

POSTGRES_SCHEMES = frozenset({"postgresql", "postgres", "postgresql+asyncpg"})


def _database_url(value: SecretStr) -> SecretStr:
    if urlsplit(value.get_secret_value()).scheme not in POSTGRES_SCHEMES:
        raise ValueError("must look like postgresql://user:password@host:port/name")
    return value


def _bus_url(value: SecretStr) -> SecretStr:
    scheme = urlsplit(value.get_secret_value()).scheme
    if scheme != "kafka" and scheme not in POSTGRES_SCHEMES:
        raise ValueError("must start with kafka:// or postgresql://")
    return value


def _service_addresses(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    pairs = [item.strip().partition("=") for item in value.split(",") if item.strip()]
    if any(not name or not address for name, _, address in pairs):
        raise ValueError("must look like ingest=host:port,metadata=host:port")
    return {name.strip(): address.strip() for name, _, address in pairs}


BusUrl = Annotated[SecretStr, AfterValidator(_bus_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
ServiceAddresses = Annotated[dict[str, str], NoDecode, BeforeValidator(_service_addresses)]


class ProcessSettings(SettingsBlock):
    """How the process starts, stops and finds the others."""

    services: ServiceAddresses = Field(
        default_factory=dict,
        description="Addresses of the services as clients reach them: `ingest=host:port,metadata=host:port`. "
        "Every service answers discovery with it",
    )
    shutdown_grace_seconds: float = Field(
        20.0,
        gt=0,
        le=600,
        description="Longest time from SIGTERM to exit; keep it below the supervisor's own limit",
    )
    admin_host: str = Field("0.0.0.0", min_length=1, description="Address of the admin HTTP server")  # noqa: S104
    admin_port: int = Field(
        5060,
        ge=0,
        le=65535,
        description="Port of /healthz, /readyz, /metrics and /asyncapi.json; 0 picks one",
    )


class ObservabilitySettings(SettingsBlock):
    """What the process says about itself."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe record written; `debug` also writes every call"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto` is console on a terminal and JSON otherwise"
    )
    slow_rpc_ms: int = Field(
        1000, ge=1, le=3_600_000, description="A unary call that takes longer is logged as a warning"
    )
    otel_endpoint: str = Field(
        "", description="OTLP/gRPC collector for our own traces, such as `http://host:4317`; empty is off"
    )
    otel_sample_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of traces started here that are kept; a caller's decision wins"
    )


class GrpcSettings(SettingsBlock):
    """The gRPC server and the channels between services."""

    grpc_host: str = Field("0.0.0.0", min_length=1, description="Address of the gRPC server")  # noqa: S104
    grpc_port: int = Field(5050, ge=0, le=65535, description="Port of the gRPC server; 0 picks one")
    grpc_max_message_bytes: int = Field(
        MAX_MESSAGE_BYTES, ge=64 * 1024, le=256 * 1024 * 1024, description="Largest request and answer"
    )
    grpc_max_concurrent_rpcs: int = Field(
        2000,
        ge=1,
        le=100_000,
        description="Calls in progress at once; more are refused with RESOURCE_EXHAUSTED",
    )
    grpc_keepalive_seconds: int = Field(
        30, ge=10, le=7200, description="A silent connection is pinged after this long"
    )
    default_deadline_seconds: float = Field(
        60.0, gt=0, le=3600, description="Deadline of unary calls whose client sets none; streams have none"
    )


class DatabaseSettings(SettingsBlock):
    """PostgreSQL, for services that own tables."""

    database_url: DatabaseUrl | None = Field(
        None,
        description="`postgresql://user:password@host:port/name`, or `?host=/folder` for a Unix socket",
    )
    database_pool_size: int = Field(
        10,
        ge=1,
        le=500,
        description="Connections that a process keeps for sessions, and as many for its hot paths",
    )
    database_pool_timeout_seconds: float = Field(
        10.0, gt=0, le=300, description="Longest wait for a free connection, then UNAVAILABLE"
    )
    database_connect_timeout_seconds: float = Field(
        5.0, gt=0, le=120, description="Longest wait for a new connection"
    )
    database_statement_timeout_ms: int = Field(
        30_000, ge=100, le=3_600_000, description="Longest single statement, then DEADLINE_EXCEEDED"
    )
    database_lock_timeout_ms: int = Field(
        10_000, ge=100, le=3_600_000, description="Longest wait for a lock, then ABORTED"
    )
    migrate_on_start: bool = Field(
        False, description="Run migrations at start; off where a deployment runs `migrate` as its own step"
    )

    def require_database_url(self) -> SecretStr:
        """Where the database is.

        Raises:
            FailedPrecondition: RUNSTREAM_DATABASE_URL is not set.
        """
        if self.database_url is None:
            raise FailedPrecondition("RUNSTREAM_DATABASE_URL is not set", reason="SETTING_MISSING")
        return self.database_url


class BusSettings(SettingsBlock):
    """The bus: Kafka, or a PostgreSQL table."""

    bus_url: BusUrl = Field(description="`kafka://host:port,host:port` or a PostgreSQL URL")
    topic_prefix: str = Field(
        "",
        max_length=100,
        pattern=r"^[a-zA-Z0-9._-]*$",
        description="Put before every topic and group name, so that deployments may share a cluster",
    )
    kafka_partitions: int = Field(12, ge=1, le=10_000, description="Partitions of topics that we create")
    kafka_replication_factor: int = Field(
        1, ge=1, le=16, description="Replicas of topics that we create; 3 where data matters"
    )
    kafka_retention_hours: int = Field(
        168, ge=1, le=87_600, description="How long topics that we create keep messages"
    )
    kafka_compression: Literal["lz4", "zstd", "none"] = Field(
        "zstd",
        description="How message batches are compressed; the Kafka client's lz4 works at its slowest level, "
        "about five times slower than its zstd",
    )
    publish_max_in_flight_bytes: int = Field(
        64 * 1024 * 1024,
        ge=MAX_MESSAGE_BYTES,
        le=16 * 1024 * 1024 * 1024,
        description="Bytes handed to the bus and not yet durable; beyond, calls get RESOURCE_EXHAUSTED",
    )
    publish_timeout_seconds: float = Field(
        20.0, gt=0, le=600, description="Longest wait for a message to become durable, then UNAVAILABLE"
    )
    dead_letter_max_ratio: float = Field(
        0.5, gt=0, le=1, description="A subscription stops when a larger share of messages is dead-lettered"
    )
    dead_letter_min_messages: int = Field(
        1000, ge=1, le=10_000_000, description="Messages seen before the ratio counts"
    )
    poison_attempts: int = Field(
        3, ge=1, le=100, description="Attempts at one message that raises, before it is dead-lettered"
    )


class StatelessSettings(GrpcSettings, ObservabilitySettings, ProcessSettings):
    """What every service reads that has neither tables nor the bus; such services subclass it with their own fields."""


class ServiceSettings(BusSettings, DatabaseSettings, ObjectStoreSettings, StatelessSettings):
    """What every service reads that has tables or the bus; services subclass it with their own fields."""


def settings_table(*blocks: type[SettingsBlock]) -> str:
    """The Markdown tables of docs/configuration.md.

    Args:
        blocks: the blocks to print, in order; the shared ones if none is given.
    """
    shared = (
        ProcessSettings,
        GrpcSettings,
        DatabaseSettings,
        BusSettings,
        ObjectStoreSettings,
        ObservabilitySettings,
    )
    return "\n\n".join(_block_table(block) for block in blocks or shared)


def _block_table(block: type[SettingsBlock]) -> str:
    inherited = {name for base in block.__bases__ for name in getattr(base, "model_fields", {})}
    rows = [
        f"| `{env_name(name)}` | {_default(field)} | {_bounds(field)} | {field.description} |"
        for name, field in block.model_fields.items()
        if name not in inherited
    ]
    heading = (block.__doc__ or block.__name__).strip().partition("\n")[0].rstrip(".")
    return "\n".join(
        [f"### {heading}", "", "| name | default | bounds | what |", "| --- | --- | --- | --- |", *rows]
    )


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return (
        "" if value in (None, "", {}, ()) else f"`{str(value).lower() if isinstance(value, bool) else value}`"
    )


def _bounds(field: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    parts = [
        f"{sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in signs.items()
        if getattr(limit, name, None) is not None
    ]
    choices = getattr(field.annotation, "__args__", ()) if "Literal" in str(field.annotation) else ()
    return ", ".join(parts or [f"`{choice}`" for choice in choices])


if __name__ == "__main__":
    print(settings_table())  # noqa: T201 - printing the table is what the command is for
