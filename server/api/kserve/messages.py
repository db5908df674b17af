"""KServe's inference messages to requests of ours, and frames to its responses.

Every refusal names the tensor or the parameter, and the remedy.
"""

# The libraries' own annotations are missing or partial.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from echomimic.v1 import avatar_service_pb2 as pb
from google.rpc import status_pb2
from tritonclient.grpc import service_pb2

from server.api.kserve.model import AUDIO, INPUTS, MODEL, OUTPUTS, PORTRAIT, VERSION, Tensor
from server.api.kserve.parameters import AVATAR, Value, name_of, state
from server.api.requests import read_start
from server.audio.clock import MODEL_RATE_HZ
from server.errors import InvalidFieldError
from server.sessions.jobs import Job, Offer
from server.sessions.sitter import Avatar, Sitter

kserve: Any = service_pb2

SAMPLE_BYTES = 2
_LENGTH = struct.Struct("<I")
"""Stands before each element of a tensor of bytes."""
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
_EMPTY_FINAL = "triton_enable_empty_final_response"
_FINAL = "triton_final_response"


@dataclass(frozen=True, slots=True)
class Request:
    """What one message asks for.

    Attributes:
        id: echoed in each of its responses.
        audio: s16le samples, 16 kHz, one channel.
        portrait: a file, or None where there is none.
        sequence: the stream of speech that it is a part of; 0 or empty where it is one by itself.
        starts: whether it is the first request of its stream of speech.
        ends: whether it is the last one.
        parameters: what else is stated.
        outputs: those that are asked for.
        wants_end: whether an empty response shall say that no more follow.
    """

    id: str
    audio: bytes
    portrait: bytes | None
    sequence: int | str
    starts: bool
    ends: bool
    parameters: Mapping[str, Value]
    outputs: tuple[Tensor, ...]
    wants_end: bool

    @property
    def samples(self) -> int:
        """Samples of its audio."""
        return len(self.audio) // SAMPLE_BYTES


def check_model(name: str, version: str, field: str) -> None:
    """Checks which model is asked for.

    Raises:
        InvalidFieldError: there is no such.
    """
    if name != MODEL:
        raise InvalidFieldError(field, f"is {name!r}; this server has the model {MODEL}")
    if version not in ("", VERSION):
        raise InvalidFieldError("model_version", f"is {version!r}; leave it out")


def read_request(message: Any) -> Request:
    """Reads a message of a ModelStreamInfer call.

    Raises:
        InvalidFieldError: a tensor or a parameter cannot be used.
    """
    check_model(message.model_name, message.model_version, "model_name")
    tensors = _tensors(message)
    parameters = {name: _value(name, of) for name, of in message.parameters.items()}
    wants_end = bool(parameters.pop(_EMPTY_FINAL, False))
    sequence, starts, ends = (parameters.pop(name, 0) for name in _SEQUENCE)
    if not isinstance(sequence, int | str):
        raise InvalidFieldError("parameters.sequence_id", "is no integer and no string")
    if not sequence and (starts or ends):
        raise InvalidFieldError("parameters.sequence_id", "is missing; say which one it is")
    return Request(
        id=message.id,
        audio=tensors.get(AUDIO.name, b""),
        portrait=_only_element(tensors[PORTRAIT.name]) if PORTRAIT.name in tensors else None,
        sequence=sequence,
        starts=bool(starts) or not sequence,
        ends=bool(ends) or not sequence,
        parameters=parameters,
        outputs=_outputs(message),
        wants_end=wants_end,
    )


def read_job(request: Request, offer: Offer, avatar: Avatar | None, portrait: bytes | None) -> Job:
    """Reads what the first request of a stream of speech asks for.

    Args:
        request: the first one.
        offer: what may be asked for.
        avatar: the one that it names, if it does.
        portrait: the server's own, for a request that has none.

    Raises:
        InvalidFieldError: a tensor or a parameter cannot be used.
    """
    start = pb.Start(
        audio_format=pb.AudioFormat(
            encoding=pb.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=MODEL_RATE_HZ, channels=1
        )
    )
    if request.portrait is not None and AVATAR in request.parameters:
        problem = f"was sent with the parameter {AVATAR}; send one of them"
        raise InvalidFieldError(PORTRAIT.name, problem)
    image = portrait if request.portrait is None else request.portrait
    if image is not None:
        start.portrait.image = image
    state(start, request.parameters)
    try:
        job = read_start(pb.AnimateRequest(start=start), offer, avatar)
    except InvalidFieldError as error:
        raise InvalidFieldError(name_of(error.field), error.problem) from error
    return job if isinstance(job.who, Avatar) else _named(job, job.who)


def _named(job: Job, sitter: Sitter) -> Job:
    """Returns a job whose portrait is called what its tensor is."""
    return replace(job, who=replace(sitter, field=PORTRAIT.name))


def response(request: Request, frame: pb.Frame, warnings: str) -> Any:
    """Returns a frame as a response to a request; warnings, if there are any, go with it."""
    values = {
        "frame": _LENGTH.pack(len(frame.data)) + frame.data,
        "index": struct.pack("<q", frame.index),
        "presentation_time_ns": struct.pack("<q", frame.presentation_time.ToNanoseconds()),
    }
    answer = _response(request.id, final=False, warnings=warnings)
    for tensor in request.outputs:
        answer.infer_response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=[1])
        answer.infer_response.raw_output_contents.append(values[tensor.name])
    return answer


def last_response(request: Request, warnings: str) -> Any:
    """Returns the empty response that says that no more follow."""
    return _response(request.id, final=True, warnings=warnings)


def refusal(request_id: str, reason: str, status: status_pb2.Status) -> Any:
    """Returns why there are no more frames for a request; other requests go on."""
    answer = _response(request_id, final=True)
    answer.error_message = f"{reason}: {status.message}"
    return answer


def _response(request_id: str, *, final: bool, warnings: str = "") -> Any:
    answer = kserve.ModelStreamInferResponse()
    inner = answer.infer_response
    inner.model_name, inner.model_version, inner.id = MODEL, VERSION, request_id
    inner.parameters[_FINAL].bool_param = final
    if warnings:
        inner.parameters["warnings"].string_param = warnings
    return answer


def _tensors(message: Any) -> dict[str, bytes]:
    """Returns the bytes of each input."""
    known = {tensor.name: tensor for tensor in INPUTS}
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        problem = f"holds {len(raw)} tensors for {len(message.inputs)} inputs; send one for each"
        raise InvalidFieldError("raw_input_contents", problem)
    found: dict[str, bytes] = {}
    for number, given in enumerate(message.inputs):
        tensor = known.get(given.name)
        if tensor is None:
            raise InvalidFieldError(f"inputs.{given.name}", f"is unknown; send {', '.join(known)}")
        if given.name in found:
            raise InvalidFieldError(given.name, "was sent twice; send it once")
        _check_described(given, tensor)
        found[tensor.name] = raw[number] if raw else _typed_contents(given, tensor)
    samples = next((given.shape[0] for given in message.inputs if given.name == AUDIO.name), 0)
    size = len(found.get(AUDIO.name, b""))
    if size != SAMPLE_BYTES * samples:
        problem = f"has {size} bytes for {samples} samples; send {SAMPLE_BYTES} for each"
        raise InvalidFieldError(AUDIO.name, problem)
    return found


def _check_described(given: Any, tensor: Tensor) -> None:
    if given.parameters:
        raise InvalidFieldError(tensor.name, "is in shared memory; send it in the message")
    if given.datatype != tensor.datatype:
        problem = f"is of type {given.datatype or 'none'}; send {tensor.datatype}"
        raise InvalidFieldError(tensor.name, problem)
    shape = list(given.shape)
    if len(shape) != 1 or shape[0] < 0 or tensor.shape not in ([-1], shape):
        raise InvalidFieldError(tensor.name, f"has the shape {shape}; send {tensor.shape}")


def _typed_contents(given: Any, tensor: Tensor) -> bytes:
    contents = given.contents
    if tensor == PORTRAIT:
        return b"".join(_LENGTH.pack(len(of)) + of for of in contents.bytes_contents)
    try:
        return struct.pack(f"<{len(contents.int_contents)}h", *contents.int_contents)
    except struct.error as error:
        raise InvalidFieldError(tensor.name, "holds more than 16 bits; send INT16") from error


def _only_element(data: bytes) -> bytes:
    """Returns the element of a tensor of bytes of shape [1]."""
    size = _LENGTH.size
    if len(data) < size or _LENGTH.unpack_from(data)[0] != len(data) - size:
        problem = (
            "is no tensor of one element; send its length in 4 bytes, little-endian, before it"
        )
        raise InvalidFieldError(PORTRAIT.name, problem)
    return data[size:]


def _outputs(message: Any) -> tuple[Tensor, ...]:
    known = {tensor.name: tensor for tensor in OUTPUTS}
    for asked in message.outputs:
        if asked.name not in known:
            raise InvalidFieldError(
                f"outputs.{asked.name}", f"is unknown; ask for {', '.join(known)}"
            )
        if asked.parameters:
            problem = "asks for shared memory or classes; take it as it is, in the message"
            raise InvalidFieldError(f"outputs.{asked.name}", problem)
    names = {asked.name for asked in message.outputs}
    return tuple(tensor for tensor in OUTPUTS if not names or tensor.name in names)


def _value(name: str, parameter: Any) -> Value:
    kind = parameter.WhichOneof("parameter_choice")
    if kind is None:
        raise InvalidFieldError(f"parameters.{name}", "is empty; send a value")
    return getattr(parameter, kind)
