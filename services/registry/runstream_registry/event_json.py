"""Events as JSON that shell scripts and jq read with ease, and that protobuf's own JSON parsers accept as well.

Proto3's JSON with three choices: field names as in the .proto, fields at their default value are written, and 64-bit
integers are numbers instead of strings. Ours (sequence numbers, times in milliseconds) stay far below 2**53, where
readers that hold numbers as doubles would begin to round. NaN and infinities are the strings "NaN", "Infinity" and
"-Infinity", as in proto3.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict

if TYPE_CHECKING:
    from google.protobuf.message import Message

_INT64_TYPES = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})


def event_fields(message: Message) -> dict[str, Any]:
    """The message as JSON values, under the field names of its .proto."""
    fields: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    # Our events are flat; a nested one would have to be walked into.
    for field in message.DESCRIPTOR.fields:
        if field.cpp_type in _INT64_TYPES and field.name in fields:
            fields[field.name] = int(fields[field.name])
    return fields


def event_json(message: Message) -> bytes:
    """The message as JSON text in UTF-8, keys sorted."""
    return json.dumps(
        event_fields(message), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
