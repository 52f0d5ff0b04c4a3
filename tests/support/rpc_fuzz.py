"""Requests nobody would write by hand, for every RPC of a service, made from the descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.struct_pb2 import Struct
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
            "a\x00b",
            "../..",
            "/",
            "a//b",
            "%00",
            "{{x}} {% if %}",
            '{"a": [1e999, {"b": null}]}',
            "models:/churn/1",
            "\u202e\u0301\U0001f600",
            "\U0010ffff" * 300,
            "x" * 1_025,
            "x" * 200_000,
        ]
    ),
    st.text(max_size=40),
    st.text(alphabet="0123456789abcdef", min_size=32, max_size=32),
)


Known: TypeAlias = "Mapping[str, Sequence[Any]]"
"""Values that lead to what is there, by "field" or "Message.field": a request of them alone is a sensible one."""

DEEP_STRUCTS = (1, 10, 30)
"""Levels of objects within each other; beyond 33 protobuf itself refuses."""


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


def requests(rpc: Rpc, known: Known | None = None) -> st.SearchStrategy[bytes]:
    """Bytes for a method: noise, well-formed requests with any values, and such requests damaged.

    Args:
        known: with it, most requests are sensible ones with a field or two changed.
    """
    any_values = messages(rpc.request)
    if known is None:
        return st.one_of(_bytes_of(any_values), _damaged(any_values), st.binary(max_size=200))
    sensible = _bytes_of(aimed(rpc.request, known))
    return st.one_of(
        sensible, sensible, sensible, sensible, _bytes_of(any_values), _damaged(aimed(rpc.request, known))
    )


def _bytes_of(strategy: st.SearchStrategy[Message]) -> st.SearchStrategy[bytes]:
    return strategy.map(lambda message: message.SerializeToString())


def _damaged(strategy: st.SearchStrategy[Message]) -> st.SearchStrategy[bytes]:
    return st.builds(_damage, _bytes_of(strategy), st.integers(0, 10_000), st.integers(0, 255))


def _damage(data: bytes, place: int, byte: int) -> bytes:
    if not data:
        return bytes([byte])
    place %= len(data)
    return data[:place] + bytes([byte]) + data[place + 1 + byte % 3 :]


def messages(descriptor: Descriptor, depth: int = 0) -> st.SearchStrategy[Message]:
    """Messages with any subset of their fields."""
    fields = [field for field in descriptor.fields if depth < MAX_DEPTH or field.message_type is None]
    values = st.fixed_dictionaries({}, optional={field.name: _values(field, depth) for field in fields})
    return values.map(lambda chosen: _made(descriptor, chosen))


def aimed(descriptor: Descriptor, known: Known, depth: int = 0) -> st.SearchStrategy[Message]:
    """Messages whose known fields are set to what leads somewhere, with up to two fields that are any or unset."""
    fields = {field.name: field for field in descriptor.fields}
    leading = {name: _aimed_values(field, known, depth) for name, field in fields.items()}
    sensible = {name: values for name, values in leading.items() if values is not None}

    @st.composite
    def make(draw: st.DrawFn) -> Message:
        chosen = list(draw(st.fixed_dictionaries(sensible)).items())
        # Of the fields of a oneof the first one stays, so each of them gets its turn.
        turn = draw(st.integers(0, len(chosen)))
        values = dict(chosen[turn:] + chosen[:turn])
        for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=2)) if fields else ():
            if draw(st.booleans()):
                values = {
                    name: draw(_values(fields[name], depth)),
                    **{k: v for k, v in values.items() if k != name},
                }
            else:
                values.pop(name, None)
        return _made(descriptor, values)

    return make()


def _made(descriptor: Descriptor, values: dict[str, Any]) -> Message:
    make: Any = message_factory.GetMessageClass(descriptor)
    made: Message = make(**_one_of_each(descriptor, values))
    return made


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


def _aimed_values(field: FieldDescriptor, known: Known, depth: int) -> st.SearchStrategy[Any] | None:
    """What leads somewhere; None when nothing is known of the field."""
    values = _fitting(field, known)
    if values:
        one: st.SearchStrategy[Any] = st.sampled_from(values)
    elif field.message_type is not None and not _is_special(field) and depth < MAX_DEPTH:
        one = aimed(field.message_type, known, depth + 1)
    else:
        return None
    if not field.is_repeated:
        return one
    return st.one_of(st.lists(one, min_size=1, max_size=1), st.lists(one, max_size=3))


def _fitting(field: FieldDescriptor, known: Known) -> list[Any]:
    """The known values that the field can have: fields of one name need not be of one type."""
    python_type = {
        FieldDescriptor.CPPTYPE_STRING: str,
        FieldDescriptor.CPPTYPE_ENUM: int,
        FieldDescriptor.CPPTYPE_INT32: int,
        FieldDescriptor.CPPTYPE_INT64: int,
    }.get(field.cpp_type)
    values = known.get(f"{field.containing_type.name}.{field.name}", known.get(field.name, ()))
    return [value for value in values if type(value) is python_type]


def _is_special(field: FieldDescriptor) -> bool:
    """Whether the field is a map or a struct."""
    message = field.message_type
    return bool(message.GetOptions().map_entry) or message.full_name == Struct.DESCRIPTOR.full_name


def _values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        key, value = (_value(message.fields_by_name[name], depth) for name in ("key", "value"))
        return st.dictionaries(key, value, max_size=3)
    one = _value(field, depth)
    return st.lists(one, max_size=4) if field.is_repeated else one


def _value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    kind = field.type
    if kind == FieldDescriptor.TYPE_MESSAGE:
        if depth >= MAX_DEPTH:
            return st.just(message_factory.GetMessageClass(field.message_type)())
        deeper = messages(field.message_type, depth + 1)
        if field.message_type.full_name == Struct.DESCRIPTOR.full_name:
            return st.one_of(deeper, st.sampled_from(DEEP_STRUCTS).map(_deep_struct))
        return deeper
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


def _deep_struct(levels: int) -> Struct:
    outermost = innermost = Struct()
    for _ in range(levels):
        innermost = innermost.fields["a"].struct_value
    innermost.fields["temperature"].number_value = float("nan")
    return outermost


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
