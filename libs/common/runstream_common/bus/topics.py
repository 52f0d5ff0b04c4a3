"""The topics of the platform: what each one carries, how it is keyed and who consumes it for certain."""

from __future__ import annotations

from dataclasses import dataclass

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


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
    content_types: tuple[str, ...] = (PROTOBUF,)
    groups: tuple[str, ...] = ()
    partitions: int | None = None
    retention_hours: int | None = None


RUN_LOGGED = Topic(
    name="run-logged",
    summary="A run logged metric points.",
    key="run id",
    message="runstream.events.v1.RunLogged",
    content_types=(PROTOBUF, JSON),
    groups=("metadata",),
)
RUN_CHANGED = Topic(
    name="run-changed",
    summary="A run was created, changed, ended, deleted or restored.",
    key="run id",
    message="runstream.events.v1.RunChanged",
)
ARTIFACT_STORED = Topic(
    name="artifact-stored",
    summary="Files of a run, model or trace became visible.",
    key="id of the run, logged model, model version or trace",
    message="runstream.events.v1.ArtifactStored",
)
# Few, and read by deployment scripts: as JSON they need no schema and no tools.
MODEL_PROMOTED = Topic(
    name="model-promoted",
    summary="A model version was promoted to an alias or stage.",
    key="model name",
    message="runstream.events.v1.ModelPromoted",
    content_types=(JSON,),
)
MODEL_VERSION_CREATED = Topic(
    name="model-version-created",
    summary="A version of a model or prompt was registered.",
    key="model name",
    message="runstream.events.v1.ModelVersionCreated",
    content_types=(JSON,),
)
MODEL_CHANGED = Topic(
    name="model-changed",
    summary="A registered model, version or prompt changed in another way.",
    key="model name",
    message="runstream.events.v1.ModelChanged",
    content_types=(JSON,),
)

TOPICS: tuple[Topic, ...] = (
    RUN_LOGGED,
    RUN_CHANGED,
    ARTIFACT_STORED,
    MODEL_PROMOTED,
    MODEL_VERSION_CREATED,
    MODEL_CHANGED,
)
"""Every topic that is created at start."""


def find_topic(name: str) -> Topic:
    """The registered topic, or one with default properties for a name that is not registered."""
    for topic in TOPICS:
        if topic.name == name:
            return topic
    return Topic(name=name, summary="", key="", message="")
