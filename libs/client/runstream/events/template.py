"""A command line with places for an event's fields, such as `./deploy.sh {model} {metrics.accuracy}`.

It is cut into arguments before the fields are put in, and no shell sees it: a field is always one argument, whatever is
in it.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from runstream_common.bus.events import event_descriptor
from runstream_common.bus.topics import find_topic
from runstream_common.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.descriptor import Descriptor

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_STRINGS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


class FieldMissingError(Exception):
    """The event does not have a field that the command needs."""


@dataclass(frozen=True, slots=True)
class CommandTemplate:
    """A command line to fill in.

    Attributes:
        arguments: the program and its arguments, with places.
        descriptor: what is known of the topic's events; None when nothing is.
    """

    arguments: tuple[str, ...]
    descriptor: Descriptor | None

    def fill(self, event: Mapping[str, Any] | None) -> list[str]:
        """The arguments for one event.

        Args:
            event: its fields; None when its value is no JSON object.

        Raises:
            FieldMissingError: it lacks a field that has no default, such as a metric.
        """

        def value_of(match: re.Match[str]) -> str:
            text = match.group()
            return text[0] if text in ("{{", "}}") else self._value(event, match.group(1))

        return [_PART.sub(value_of, argument) for argument in self.arguments]

    def _value(self, event: Mapping[str, Any] | None, path: str) -> str:
        found = _find(event, path)
        if found is not None:
            text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
            if "\x00" in text:
                raise FieldMissingError(f"the event's {path} has a NUL character, which no argument can hold")
            return text
        field = self.descriptor.fields_by_name.get(path) if self.descriptor else None
        if event is None or field is None or field.is_repeated or field.message_type is not None:
            raise FieldMissingError(f"the event has no {path}")
        return _default(field)


def parse_command(text: str, topic: str) -> CommandTemplate:
    """Read a command line; `{{` and `}}` stand for braces.

    Args:
        text: quoted as for a POSIX shell, without its other powers.
        topic: tells which fields there are.

    Raises:
        InvalidArgument: it is empty, not closed, or names a field that the topic's events do not have.
    """
    try:
        arguments = shlex.split(text)
    except ValueError as error:
        raise InvalidArgument.of("--exec", f"{error} in {text!r}") from error
    if not arguments:
        raise InvalidArgument.of("--exec", "names no command")
    message = find_topic(topic).message
    template = CommandTemplate(tuple(arguments), event_descriptor(message) if message else None)
    for argument in arguments:
        for path in _places(argument):
            _check(path, template.descriptor, topic)
    return template


def _places(argument: str) -> Sequence[str]:
    """The names between braces.

    Raises:
        InvalidArgument: a brace stands alone.
    """
    found = []
    for match in _PART.finditer(argument):
        if match.group() in ("{", "}"):
            raise InvalidArgument.of(
                "--exec", f"a single brace in {argument!r}; write {{{{ or }}}} for a brace"
            )
        if match.group(1) is not None:
            found.append(match.group(1))
    return found


def _check(path: str, descriptor: Descriptor | None, topic: str) -> None:
    if descriptor is None:
        if not path:
            raise InvalidArgument.of("--exec", "a place names no field: {}")
        return
    name, dot, rest = path.partition(".")
    field = descriptor.fields_by_name.get(name)
    nested = field is not None and field.message_type is not None
    if field is None or bool(dot) > nested or (dot and not rest):
        known = ", ".join(item.name for item in descriptor.fields)
        raise InvalidArgument.of("--exec", f"events of {topic} have no field {path!r}; they have: {known}")
    if dot and field.message_type and not field.is_repeated:
        _check(rest, field.message_type, topic)


def _find(event: Any, path: str) -> Any:
    """The field; dots lead inside, and belong to the key where a map has such a one. None when it is not there."""
    if not isinstance(event, Mapping):
        return None
    if path in event:
        return event[path]
    name, dot, rest = path.partition(".")
    return _find(event.get(name), rest) if dot else None


def _default(field: FieldDescriptor) -> str:
    """What a field means that is not in the JSON: proto3 leaves out what has its default value."""
    if field.enum_type is not None:
        return str(field.enum_type.values[0].name)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "false"
    return "" if field.type in _STRINGS else "0"
