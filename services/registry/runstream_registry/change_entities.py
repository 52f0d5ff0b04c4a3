"""What a change of the registry consists of: its audit entry, its events, and what webhooks are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from runstream_common.bus.topics import Topic

    from runstream_registry.notices import Notice

POLICIES_CHAIN = "policies"
WEBHOOKS_CHAIN = "webhooks"


def model_chain(model_id: int) -> str:
    """The audit chain of a model; it survives renames and the model itself."""
    return f"model/{model_id}"


@dataclass(frozen=True, slots=True)
class Event:
    """One event on its way to the bus.

    Args:
        topic: one whose values are JSON.
        key: message key; events of one key keep their order.
        message: of the topic's type; its field ``event_id`` must be set and becomes the event's id.
    """

    topic: Topic
    key: str
    message: Message


Events: TypeAlias = Sequence[Event] | Callable[[bytes], Sequence[Event]]
"""Events, or a function that makes them from the hash of the audit entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change, as the audit trail keeps it.

    Args:
        chain: ``model_chain(...)``, ``POLICIES_CHAIN`` or ``WEBHOOKS_CHAIN``.
        action: what, as a constant such as "version.created".
        subject: name of the model, policy or webhook at this time.
        actor: who.
        version: 0 when it does not concern one.
        reason: why; may be empty.
        before: state before, JSON values without NaN and infinities; None when there was none.
        after: state after, in the same form; None when there is none.
        events: what the bus is told.
        notices: what webhooks are told.
        time_ms: milliseconds since the Unix epoch; 0 takes the clock's time.
    """

    chain: str
    action: str
    subject: str
    actor: str
    version: int = 0
    reason: str = ""
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    events: Events = ()
    notices: Sequence[Notice] = ()
    time_ms: int = 0
