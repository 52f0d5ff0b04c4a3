"""Requests nobody would write by hand, for every RPC of a service, made from the descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

KNOWN_RUN = "0" * 32
"""A test makes this run, so that many requests get past the question whether it exists."""

MAX_DEPTH = 3
INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
# Numbers near the bounds that handlers check, besides any number.
_SMALL = st.sampled_from([-1, 0, 1, 2, 1000, 1001, 60_000])

_TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            "0",
            "1",
            "-1",
            "9" * 25,
            KNOWN_RUN,
            "run-logged",
            "metadata",
            "0:1",
            "metadata/0:1",
            "loss",
            "\x00",
            "name LIKE '%' OR (metrics.`a b` >= 1e999)",
            "attributes.start_time DESC",
            "((((((((((",
            "params.x = 'it''s",
            "s3://bucket/\ud7ff",
        ]
    ),
    st.text(max_size=40),
    st.text(alphabet="0123456789abcdef", min_size=32, max_size=32),
)


@dataclass(frozen=True)
class Rpc:
    """One method. `path` is what gRPC calls it."""

    path: str
    request: Descriptor
    request_streaming: bool
    response_streaming: bool


def rpcs_of(*files: FileDescriptor) -> list[Rpc]:
    """Every method of every service in the files."""
    return [
        Rpc(
            f"/{service.full_name}/{method.name}",
            method.input_type,
            method.client_streaming,
            method.server_streaming,
        )
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    ]


def requests(rpc: Rpc) -> st.SearchStrategy[bytes]:
    """Bytes for a method: noise, well-formed requests with any values, and such requests damaged."""
    well_formed = messages(rpc.request).map(lambda message: message.SerializeToString())
    damaged = st.builds(_damage, well_formed, st.integers(0, 10_000), st.integers(0, 255))
    return st.one_of(well_formed, damaged, st.binary(max_size=200))


def _damage(data: bytes, place: int, byte: int) -> bytes:
    if not data:
        return bytes([byte])
    place %= len(data)
    return data[:place] + bytes([byte]) + data[place + 1 + byte % 3 :]


def messages(descriptor: Descriptor, depth: int = 0) -> st.SearchStrategy[Message]:
    """Messages with any subset of their fields."""
    make: Any = message_factory.GetMessageClass(descriptor)
    fields = [field for field in descriptor.fields if depth < MAX_DEPTH or field.message_type is None]
    values = st.fixed_dictionaries({}, optional={field.name: _values(field, depth) for field in fields})
    return values.map(lambda chosen: make(**_one_of_each(descriptor, chosen)))


def _one_of_each(descriptor: Descriptor, chosen: dict[str, Any]) -> dict[str, Any]:
    """Leave one field of each oneof; protobuf would keep the last one anyway."""
    seen: set[str] = set()
    kept = {}
    for name, value in chosen.items():
        group = descriptor.fields_by_name[name].containing_oneof
        if group is None or group.full_name not in seen:
            kept[name] = value
        if group is not None:
            seen.add(group.full_name)
    return kept


def _values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    one = _value(field, depth)
    return st.lists(one, max_size=4) if field.is_repeated else one


def _value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    kind = field.type
    if kind == FieldDescriptor.TYPE_MESSAGE:
        return messages(field.message_type, depth + 1)
    if kind == FieldDescriptor.TYPE_ENUM:
        # Numbers that no version of ours knows are legal on the wire.
        return st.sampled_from([*(value.number for value in field.enum_type.values), 99, -1])
    if kind == FieldDescriptor.TYPE_STRING:
        return _TEXTS
    if kind == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=40)
    if kind == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if kind in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return st.floats()
    return _integers(kind)


def _integers(kind: int) -> st.SearchStrategy[int]:
    signed = {
        FieldDescriptor.TYPE_INT32: INT32,
        FieldDescriptor.TYPE_SINT32: INT32,
        FieldDescriptor.TYPE_SFIXED32: INT32,
        FieldDescriptor.TYPE_INT64: INT64,
        FieldDescriptor.TYPE_SINT64: INT64,
        FieldDescriptor.TYPE_SFIXED64: INT64,
    }
    if kind in signed:
        return st.one_of(_SMALL, signed[kind])
    return st.integers(0, 2**32 - 1)


def names_of(rpcs: Iterable[Rpc]) -> list[str]:
    """Short names, as test ids."""
    return [rpc.path.removeprefix("/runstream.") for rpc in rpcs]
