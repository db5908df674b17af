"""KServe's inference messages as bytes, with the tensors beside the protobuf instead of in it.

Protobuf would copy every tensor twice, and hold Python's lock while it does: a window of video
stops every other stream for that time. On the wire a message is a sequence of fields, and two
messages one after the other are their union, their lists joined. So a request is the protobuf of
what is small, then each tensor as a field of its own; and constants are put into bytes once, to be
followed by what changes.
"""

# The library's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from server.triton.contract import NUMPY_DTYPES, Arrays, Network, Tensor

pb: Any = service_pb2

PIECE_BYTES = 2**20
"""Arrays become bytes in pieces of this size, since Python's lock is held for each."""
_VARINT, _DELIMITED = 0, 2
"""Wire types of numbers, and of a length followed by as many bytes."""
_RAW_INPUTS: int = pb.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number
_RAW_OUTPUTS: int = pb.ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies that is not in the message: bytes of a region that Triton knows."""

    region: str
    span: slice


Places = Mapping[str, Place]
"""By the names of tensors."""
INLINE: Places = {}
NOWHERE: Mapping[str, NDArray[np.uint8]] = {}


class WireError(Exception):
    """Bytes that are no inference response."""


def tensors(network: Network, arrays: Arrays, places: Places = INLINE) -> list[bytes]:
    """Returns the part of a request that holds some inputs of a network, in pieces.

    Those that have a place are only named.
    """
    given = [tensor for tensor in network.inputs if tensor.name in arrays]
    described = pb.ModelInferRequest(inputs=[_described(t, arrays[t.name]) for t in given])
    for tensor in described.inputs:
        _locate(tensor.parameters, places.get(tensor.name))
    pieces = [described.SerializeToString()]
    for tensor in given:
        if tensor.name not in places:
            pieces += _field(_RAW_INPUTS, arrays[tensor.name])
    return pieces


def request(*parts: Sequence[bytes]) -> bytes:
    """Returns the request that some parts are."""
    # Joining lets go of Python's lock, as adding would not.
    return b"".join(chain.from_iterable(parts))


def header(
    network: Network, outputs: Sequence[Tensor], places: Places = INLINE, request_id: str = ""
) -> list[bytes]:
    """Returns the part of a request that says what to run, and where to put what comes of it.

    Triton's log has the id.
    """
    wanted = [
        pb.ModelInferRequest.InferRequestedOutputTensor(name=tensor.name) for tensor in outputs
    ]
    for tensor in wanted:
        _locate(tensor.parameters, places.get(tensor.name))
    header = pb.ModelInferRequest(model_name=network.name, id=request_id, outputs=wanted)
    return [header.SerializeToString()]


def arrays(
    network: Network, response: bytes, placed: Mapping[str, NDArray[np.uint8]] = NOWHERE
) -> dict[str, NDArray[Any]]:
    """Returns the outputs in a response, read-only views of its bytes or of their places.

    Raises:
        WireError: it is no response, or does not hold what it says.
    """
    raw: list[memoryview] = []
    rest: list[memoryview] = []
    for number, field, value in _fields(memoryview(response)):
        if number == _RAW_OUTPUTS:
            raw.append(value)
        else:
            rest.append(field)
    try:
        described = pb.ModelInferResponse.FromString(b"".join(rest)).outputs
        types = {tensor.name: NUMPY_DTYPES[tensor.dtype] for tensor in network.outputs}
        return {
            output.name: _bytes(output, value, placed)
            .view(types[output.name])
            .reshape(output.shape)
            for output, value in zip(described, raw, strict=True)
        }
    except (DecodeError, KeyError, ValueError) as error:
        raise WireError(f"{network.name}: a response that cannot be read: {error}") from error


def _described(tensor: Tensor, array: NDArray[Any]) -> Any:
    return pb.ModelInferRequest.InferInputTensor(
        name=tensor.name, datatype=tensor.dtype, shape=array.shape
    )


def _locate(parameters: Any, place: Place | None) -> None:
    if place is not None:
        parameters["shared_memory_region"].string_param = place.region
        parameters["shared_memory_offset"].int64_param = place.span.start
        parameters["shared_memory_byte_size"].int64_param = place.span.stop - place.span.start


def _bytes(
    output: Any, value: memoryview, placed: Mapping[str, NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Returns what Triton wrote: where it was told to, or into the message."""
    if output.name in placed and not value:
        nbytes = math.prod(output.shape) * np.dtype(NUMPY_DTYPES[output.datatype]).itemsize
        return placed[output.name][:nbytes]
    return np.frombuffer(value, np.uint8)


def _field(number: int, array: NDArray[Any]) -> Iterator[bytes]:
    yield _varint(number << 3 | _DELIMITED)
    yield _varint(array.nbytes)
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for start in range(0, len(flat), PIECE_BYTES):
        yield flat[start : start + PIECE_BYTES].tobytes()


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yields each field of a message: its number, the field as a whole, and its value.

    Raises:
        WireError: they do not add up to the message.
    """
    position = 0
    while position < len(message):
        start = position
        key, position = _read_varint(message, position)
        if key & 7 == _DELIMITED:
            length, position = _read_varint(message, position)
            end = position + length
        elif key & 7 == _VARINT:
            _, end = _read_varint(message, position)
        else:
            raise WireError(f"a field of wire type {key & 7}")
        if end > len(message):
            raise WireError("a response that was cut off")
        yield key >> 3, message[start:end], message[position:end]
        position = end


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    for byte in message[position : position + 10]:
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise WireError("a response that was cut off")
