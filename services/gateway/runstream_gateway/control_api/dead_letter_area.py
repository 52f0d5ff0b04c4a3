"""Messages that consumer groups could not apply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import UNSET, Meta, Struct, UnsetType
from runstream_common.errors import InvalidArgument

from runstream_gateway.control.dead_letters import (
    DeadLetterPage,
    DeadLetters,
    Discarded,
    Replayed,
    WholeDeadLetter,
)
from runstream_gateway.control.values import GroupName, Nothing, TopicName
from runstream_gateway.control_api.operations import Call, Operation
from runstream_gateway.control_api.parameters import PageQuery

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends


class LettersQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of which topic and group."""

    topic: TopicName
    group: GroupName | UnsetType = UNSET


class GroupAt(Struct, frozen=True):
    """A consumer group of a topic."""

    topic: TopicName
    group: GroupName


class LetterAt(GroupAt, frozen=True):
    """A parked message."""

    id: Annotated[str, Meta(min_length=1, max_length=100, description="As listed: `<partition>:<offset>`")]


class LetterChoice(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which messages: either their ids, or all of the group up to the limit."""

    ids: Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(max_length=10_000)] = []
    all: bool = False
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000

    def chosen(self) -> list[str]:
        """The ids; none for all.

        Raises:
            InvalidArgument: it is not said which, or both are.
        """
        if bool(self.ids) == self.all:
            raise InvalidArgument.of("ids", "name the messages, or set all")
        return self.ids


def operations(backends: Backends) -> list[Operation]:
    """Operations of this area."""
    letters = DeadLetters(backends)

    async def page(call: Call[Nothing, LettersQuery, Nothing]) -> DeadLetterPage:
        query = call.query
        group = "" if query.group is UNSET else query.group
        return await letters.page(query.topic, group, page_size=query.page_size, page_token=query.page_token)

    async def show(call: Call[LetterAt, Nothing, Nothing]) -> WholeDeadLetter:
        return await letters.get(call.at.topic, call.at.group, call.at.id)

    async def replay(call: Call[GroupAt, Nothing, LetterChoice]) -> Replayed:
        chosen = call.body.chosen()
        return await letters.replay(call.at.topic, call.at.group, chosen, limit=call.body.limit)

    async def discard(call: Call[GroupAt, Nothing, LetterChoice]) -> Discarded:
        chosen, at = call.body.chosen(), call.at
        return await letters.discard(at.topic, at.group, chosen, actor=call.actor, limit=call.body.limit)

    tag = "dead letters"
    return [
        Operation(
            method="GET",
            path="/dead-letters",
            run=page,
            summary="Messages of a topic that could not be applied, oldest first",
            tag=tag,
            name="listDeadLetters",
            query=LettersQuery,
            answer=DeadLetterPage,
        ),
        Operation(
            method="GET",
            path="/dead-letters/{topic}/{group}/{id}",
            run=show,
            summary="One of them with its value",
            tag=tag,
            name="getDeadLetter",
            at=LetterAt,
            answer=WholeDeadLetter,
        ),
        Operation(
            method="POST",
            path="/dead-letters/{topic}/{group}/replay",
            run=replay,
            summary="Send messages to their group once more, after what they missed has been mended",
            tag=tag,
            name="replayDeadLetters",
            at=GroupAt,
            body=LetterChoice,
            answer=Replayed,
        ),
        Operation(
            method="POST",
            path="/dead-letters/{topic}/{group}/discard",
            run=discard,
            summary="Forget messages for good: nobody will apply them",
            tag=tag,
            name="discardDeadLetters",
            at=GroupAt,
            body=LetterChoice,
            answer=Discarded,
        ),
    ]
