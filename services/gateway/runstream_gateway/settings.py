"""Settings of the gateway."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads the annotations
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode
from runstream_common.settings import SettingsBlock, StatelessSettings

MEBIBYTE = 1024 * 1024


def _comma_separated(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(item.strip() for item in value.split(",") if item.strip())


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)]


class HttpSettings(SettingsBlock):
    """The gateway's HTTP server."""

    http_host: str = Field("0.0.0.0", min_length=1, description="Address of the HTTP server")  # noqa: S104
    http_port: int = Field(5000, ge=0, le=65535, description="Port of the HTTP server; 0 picks one")
    http_prefix: str = Field(
        "",
        max_length=200,
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path under which everything is served, such as `/mlflow`, as MLflow's `--static-prefix`",
    )
    http_workers: int = Field(1, ge=1, le=64, description="Processes that share the port")
    http_max_body_bytes: int = Field(
        64 * MEBIBYTE,
        ge=1024,
        le=1024 * MEBIBYTE,
        description="Largest request body, also after decompression; artifacts are streamed and not bounded by it",
    )
    http_max_header_bytes: int = Field(
        64 * 1024, ge=1024, le=MEBIBYTE, description="Longest request line and headers together"
    )
    http_header_timeout_seconds: float = Field(
        20.0, gt=0, le=600, description="Longest time until the headers of a request are complete"
    )
    http_stall_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Longest pause of a client that sends a body or takes an answer; then the connection is closed",
    )
    http_keep_alive_seconds: int = Field(
        75, ge=1, le=3600, description="How long a connection stays open between requests"
    )
    http_request_timeout_seconds: float = Field(
        100.0,
        gt=0,
        le=3600,
        description="Longest time that a request may take, then 504; streamed artifacts have no such limit",
    )
    http_max_concurrent_requests: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Requests in progress at once in a process; more are answered with 503",
    )
    http_allowed_hosts: Names = Field(
        (),
        description="Host headers that are accepted, comma-separated, `*` matches anything; "
        "empty means localhost and private addresses",
    )
    http_allowed_origins: Names = Field(
        (),
        description="Origins of other sites' pages that may call the API, comma-separated, `*` matches anything; "
        "localhost and the server's own always may",
    )
    http_frame_options: Literal["SAMEORIGIN", "DENY", "NONE"] = Field(
        "SAMEORIGIN", description="X-Frame-Options of every answer; `NONE` leaves it out"
    )
    http_access_log: Literal["all", "problems", "off"] = Field(
        "all", description="Which requests are logged; `problems` are answers from 400 on and slow ones"
    )
    http_slow_ms: int = Field(
        5000, ge=1, le=3_600_000, description="A request that takes longer is logged as slow"
    )
    http_listen_fd: int | None = Field(
        None,
        ge=3,
        description="A listening socket that the process was given; then host and port are not bound",
    )
    http_parent_fd: int | None = Field(
        None,
        ge=3,
        description="A socket to the parent process: told when ready; the process ends when it closes",
    )
    mlflow_ui_dir: Path | None = Field(
        None, description="Folder of MLflow's built web UI; looked for in the installed `mlflow` if not given"
    )


class GatewaySettings(HttpSettings, StatelessSettings):
    """The gateway."""

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
    public_url: str = Field(
        "",
        max_length=2000,
        pattern=r"^(https?://[^/?#\s]+[^?#\s]*)?$",
        description="How clients reach the gateway, such as `https://mlflow.example.org/prefix`: what URLs of its own begin "
        "with. Empty means as the request's headers say",
    )
    object_store_url: SecretStr = Field(
        SecretStr(""),
        description="When it is a folder (`file:///…`) that this process sees too, contents take no detour through the "
        "artifact service; else not used",
    )
    artifact_verification_seconds: float = Field(
        110.0,
        gt=0,
        le=3600,
        description="Longest wait until a large file that has arrived was read back and hashed; MLflow's client waits for 120 s",
    )
    backend_timeout_seconds: float = Field(
        60.0, gt=0, le=3600, description="Longest time that a call of a service may take"
    )
    read_wait_ms: int = Field(
        2_000,
        ge=1,
        le=60_000,
        description="Longest time that a read waits until what was acknowledged before it can be seen, in milliseconds",
    )
