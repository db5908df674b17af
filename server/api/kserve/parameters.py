"""A request's parameters to the fields of a `start`: what may be asked for is the same."""

# The library's own annotations are partial.
# pyright: reportUnknownMemberType=false

from collections.abc import Iterator, Mapping
from typing import Any

from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from server.errors import InvalidFieldError

Value = str | bool | int | float
TYPES: dict[int, tuple[type[Value], ...]] = {
    FieldDescriptor.CPPTYPE_BOOL: (bool,),
    FieldDescriptor.CPPTYPE_STRING: (str,),
    FieldDescriptor.CPPTYPE_ENUM: (str,),
    FieldDescriptor.CPPTYPE_INT32: (int,),
    FieldDescriptor.CPPTYPE_UINT64: (int,),
    FieldDescriptor.CPPTYPE_FLOAT: (int, float),
}
"""What a parameter may be, by what a field holds."""
SIZE, AVATAR = "size", "avatar_id"
FIELD_OF = {"video_format.width": SIZE, "video_format.height": SIZE}
"""Fields that are called another name here."""


def state(start: pb.Start, parameters: Mapping[str, Value]) -> None:
    """Fills what parameters state into a `start`.

    Raises:
        InvalidFieldError: there is no parameter of that name, or it is of another kind.
    """
    for name, value in parameters.items():
        field = f"parameters.{name}"
        if name == SIZE:
            start.video_format.width, start.video_format.height = _size(value, field)
        elif name in FIELDS:
            path, described = FIELDS[name]
            _set(_inside(start, path), described, value, field)
        else:
            known = ", ".join(sorted([SIZE, *FIELDS]))
            raise InvalidFieldError(field, f"is unknown; send any of {known}")


def name_of(field: str) -> str:
    """Returns what a refused field of a `start` is called here."""
    path = field.removeprefix("start.").removesuffix(".image")
    names = FIELD_OF | {".".join([*at, of.name]): name for name, (at, of) in FIELDS.items()}
    return f"parameters.{names[path]}" if path in names else path


def _fields() -> Iterator[tuple[str, tuple[tuple[str, ...], Any]]]:
    for field in pb.GenerationSettings.DESCRIPTOR.fields:
        if field.message_type is None:
            yield field.name, (("generation",), field)
        else:
            for inner in field.message_type.fields:
                yield f"{field.name}_{inner.name}", (("generation", field.name), inner)
    quality = pb.VideoFormat.DESCRIPTOR.fields_by_name["jpeg_quality"]
    yield quality.name, (("video_format",), quality)
    yield AVATAR, ((), pb.Start.DESCRIPTOR.fields_by_name[AVATAR])


FIELDS = dict(_fields())
"""By the names of parameters: the message inside a `start`, and the field of it."""


def _inside(message: Message, path: tuple[str, ...]) -> Message:
    for name in path:
        message = getattr(message, name)
    return message


def _set(message: Message, described: Any, value: Value, field: str) -> None:
    kinds = TYPES[described.cpp_type]
    # A bool is an int, too.
    if type(value) not in kinds:
        raise InvalidFieldError(field, f"is {value!r}; send a {kinds[-1].__name__}")
    if described.enum_type is not None:
        value = _number(described.enum_type, str(value), field)
    try:
        setattr(message, described.name, value)
    except ValueError as error:
        raise InvalidFieldError(field, f"is {value}, which is out of range") from error


def _number(enum: Any, word: str, field: str) -> int:
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    words = {of.name.removeprefix(prefix).lower(): of.number for of in enum.values[1:]}
    if word not in words:
        raise InvalidFieldError(field, f"is {word!r}; send one of {', '.join(words)}")
    return words[word]


def _size(value: Value, field: str) -> tuple[int, int]:
    width, by, height = str(value).partition("x")
    if not (by and all(side.isascii() and side.isdigit() for side in (width, height))):
        raise InvalidFieldError(field, f"is {value!r}; send width and height, as 512x512")
    # Sides with more digits are not offered anyway.
    return int(width[:6]), int(height[:6])
