"""The topics of the platform: what each one carries, how it is keyed and who consumes it for certain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Args:
        summary: what happened, one line.
        key: what its messages are keyed by; one key's messages keep their order.
        message: full name of the protobuf message in the value.
        content_types: encodings of the value that consumers accept.
        groups: groups that exist in every deployment. The PostgreSQL transport keeps a copy for each of
            them from the start, also while their service has never run.
        partitions: number of Kafka partitions; None takes the setting.
        retention_hours: how long Kafka keeps messages; None takes the setting.
    """

    name: str
    summary: str
    key: str
    message: str
    content_types: tuple[str, ...] = ("application/x-protobuf",)
    groups: tuple[str, ...] = ()
    partitions: int | None = None
    retention_hours: int | None = None


RUN_LOGGED = Topic(
    name="run-logged",
    summary="A run logged metric points.",
    key="run id",
    message="runstream.events.v1.RunLogged",
    content_types=("application/x-protobuf", "application/json"),
    groups=("metadata",),
)
RUN_CHANGED = Topic(
    name="run-changed",
    summary="A run was created, changed, ended, deleted or restored.",
    key="run id",
    message="runstream.events.v1.RunChanged",
)

TOPICS: tuple[Topic, ...] = (RUN_LOGGED, RUN_CHANGED)
"""Every topic that is created at start."""


def find_topic(name: str) -> Topic:
    """The registered topic, or one with default properties for a name that is not registered."""
    for topic in TOPICS:
        if topic.name == name:
            return topic
    return Topic(name=name, summary="", key="", message="")
