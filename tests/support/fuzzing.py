"""What clients of bad will, or bad memory, may send."""

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

M = TypeVar("M", bound=Message)
Test = TypeVar("Test", bound=Callable[..., Any])

LONG_FACTOR = 50
WORDS = st.sampled_from(
    [
        "",
        "cinematic",
        "../../etc/passwd",
        "/dev/zero",
        "file:///etc/passwd",
        "\0",
        "%s%n",
        "💀" * 50,
    ]
) | st.text(max_size=40)
INTEGERS = st.sampled_from([0, 1, 2, 8, 25, 64, 16_000, 2**31 - 1])
BYTES = st.binary(max_size=200)


def fuzzed(examples: int) -> Callable[[Test], Test]:
    """So many examples in the suite; with `--hypothesis-profile=long` fifty times as many."""
    is_long = settings.get_current_profile_name() == "long"
    return settings(
        max_examples=examples * (LONG_FACTOR if is_long else 1),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def messages(kind: type[M], depth: int = 4) -> st.SearchStrategy[M]:
    """Messages with anything in any field, as far as their types allow it."""
    return _messages(kind.DESCRIPTOR, depth)


def mutated(valid: bytes) -> st.SearchStrategy[bytes]:
    """A file with some of its bytes changed, cut out, or put in."""
    places = st.integers(0, len(valid))
    changes = st.tuples(places, st.integers(0, 8), st.binary(max_size=8))

    def change(at: list[tuple[int, int, bytes]]) -> bytes:
        data = valid
        for place, dropped, put in at:
            data = data[:place] + put + data[place + dropped :]
        return data

    return st.lists(changes, min_size=1, max_size=6).map(change)


def _messages(descriptor: Any, depth: int) -> st.SearchStrategy[Any]:
    fields = [f for f in descriptor.fields if depth > 0 or f.message_type is None]

    @st.composite
    def build(draw: st.DrawFn) -> Message:
        message: Any = GetMessageClass(descriptor)()
        for field in draw(st.lists(st.sampled_from(fields), max_size=6)) if fields else []:
            _fill(message, field, draw, depth)
        return message

    return build()


def _fill(message: Any, field: Any, draw: st.DrawFn, depth: int) -> None:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        key = draw(_values(kind.fields_by_name["key"], depth))
        value = kind.fields_by_name["value"]
        if value.message_type is None:
            getattr(message, field.name)[key] = draw(_values(value, depth))
        else:
            filled = draw(_messages(value.message_type, depth - 1))
            getattr(message, field.name)[key].CopyFrom(filled)
    elif field.is_repeated:
        getattr(message, field.name).extend(draw(st.lists(_values(field, depth), max_size=3)))
    elif kind is not None:
        getattr(message, field.name).CopyFrom(draw(_messages(kind, depth - 1)))
    else:
        setattr(message, field.name, draw(_values(field, depth)))


def _values(field: Any, depth: int) -> st.SearchStrategy[Any]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return BYTES
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_ENUM:
            numbers = [value.number for value in field.enum_type.values]
            return st.sampled_from([*numbers, 99, 2**31 - 1])
        case FieldDescriptor.CPPTYPE_FLOAT:
            return st.floats(width=32)
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return st.floats()
        case FieldDescriptor.CPPTYPE_INT32:
            return INTEGERS | st.integers(-(2**31), 2**31 - 1)
        case FieldDescriptor.CPPTYPE_UINT32:
            return INTEGERS | st.integers(0, 2**32 - 1)
        case FieldDescriptor.CPPTYPE_INT64:
            return INTEGERS | st.integers(-(2**63), 2**63 - 1)
        case FieldDescriptor.CPPTYPE_UINT64:
            return INTEGERS | st.integers(0, 2**64 - 1)
        case FieldDescriptor.CPPTYPE_STRING:
            return WORDS
        case _:
            return _messages(field.message_type, depth - 1)
