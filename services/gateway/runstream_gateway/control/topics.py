"""The topics of the deployment: what each carries."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from runstream_common.bus.topics import TOPICS

from runstream_gateway.control.values import TopicName


class TopicInfo(Struct, frozen=True):
    """One topic of the bus."""

    name: TopicName
    summary: str
    key: Annotated[
        str, Meta(description="What its messages are keyed by; one key's messages keep their order")
    ]
    message: Annotated[str, Meta(description="Full name of the protobuf message in the value")]
    content_types: list[str]
    groups: Annotated[list[str], Meta(description="Consumer groups that every deployment has")]


class TopicList(Struct, frozen=True):
    """Every topic."""

    topics: list[TopicInfo]


def topic_list() -> TopicList:
    """The topics that are created at start, in the registry's order."""
    return TopicList(
        [
            TopicInfo(
                name=topic.name,
                summary=topic.summary,
                key=topic.key,
                message=topic.message,
                content_types=list(topic.content_types),
                groups=list(topic.groups),
            )
            for topic in TOPICS
        ]
    )
