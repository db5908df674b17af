"""Requests that no client of Triton's makes: each is refused by name, and the stream goes on."""

import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from server.api.kserve.messages import read_request
from server.errors import InvalidFieldError
from tests.support.fake_engine import FakeEngine
from tests.support.serving import Served, portrait, refusal, served, small_windows, until

kserve: Any = service_pb2
SAMPLES = 3200


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    settings = small_windows(read_timeout_s=0.5)
    async with served(FakeEngine(), tmp_path, settings, default_portrait=portrait()) as running:
        yield running


def request(**changes: Any) -> Any:
    audio = {"name": "audio", "datatype": "INT16", "shape": [SAMPLES]}
    fields: dict[str, Any] = {
        "model_name": "avatar",
        "id": "a",
        "inputs": [audio],
        "raw_input_contents": [bytes(2 * SAMPLES)],
    }
    return kserve.ModelInferRequest(**fields | changes)


def tensor(
    name: str = "audio", datatype: str = "INT16", shape: tuple[int, ...] = (SAMPLES,)
) -> Any:
    return {"name": name, "datatype": datatype, "shape": shape}


def with_portrait(data: bytes) -> Any:
    return request(
        inputs=[tensor(), tensor("portrait", "BYTES", (1,))],
        raw_input_contents=[bytes(2 * SAMPLES), data],
    )


def parameter(name: str, **value: Any) -> Any:
    return request(parameters={name: kserve.InferParameter(**value)})


def shared_memory() -> Any:
    asked = request(raw_input_contents=[])
    asked.inputs[0].parameters["shared_memory_region"].string_param = "region"
    return asked


def shared_output() -> Any:
    asked = request()
    asked.outputs.add(name="frame").parameters["shared_memory_region"].string_param = "region"
    return asked


GARBAGE: dict[str, tuple[Callable[[], Any], str]] = {
    "no model": (lambda: request(model_name=""), "model_name: is ''"),
    "no input": (lambda: request(inputs=[], raw_input_contents=[]), "audio: is empty"),
    "too few bytes": (
        lambda: request(raw_input_contents=[bytes(5)]),
        "audio: has 5 bytes for 3200 samples; send 2 for each",
    ),
    "too many tensors": (
        lambda: request(raw_input_contents=[b"", b""]),
        "raw_input_contents: holds 2 tensors for 1 inputs",
    ),
    "two of a name": (
        lambda: request(inputs=[tensor(), tensor()], raw_input_contents=2 * [bytes(2 * SAMPLES)]),
        "audio: was sent twice",
    ),
    "another name": (lambda: request(inputs=[tensor("sound")]), "inputs.sound: is unknown"),
    "another type": (
        lambda: request(inputs=[tensor(datatype="FP32")]),
        "audio: is of type FP32; send INT16",
    ),
    "two dimensions": (
        lambda: request(inputs=[tensor(shape=(1, SAMPLES))]),
        "audio: has the shape [1, 3200]; send [-1]",
    ),
    "a negative shape": (lambda: request(inputs=[tensor(shape=(-1,))]), "audio: has the shape"),
    "too large numbers": (
        lambda: request(
            inputs=[tensor(shape=(1,)) | {"contents": {"int_contents": [40_000]}}],
            raw_input_contents=[],
        ),
        "audio: holds more than 16 bits",
    ),
    "a file": (
        lambda: request(raw_input_contents=[b"RIFF\0\0\0\0WAVEfmt ".ljust(2 * SAMPLES, b"\0")]),
        "audio: ",
    ),
    "a short prefix": (lambda: with_portrait(b"\1"), "portrait: is no tensor of one element"),
    "a long prefix": (
        lambda: with_portrait(b"\xff\xff\xff\xff12"),
        "portrait: is no tensor of one element",
    ),
    "two elements": (
        lambda: with_portrait(2 * struct.pack("<I2s", 2, b"12")),
        "portrait: is no tensor of one element",
    ),
    "no picture": (lambda: with_portrait(struct.pack("<I2s", 2, b"12")), "portrait: "),
    "memory": (shared_memory, "audio: is in shared memory; send it in the message"),
    "memory for an output": (shared_output, "outputs.frame: asks for shared memory or classes"),
    "an unknown output": (
        lambda: request(outputs=[{"name": "video"}]),
        "outputs.video: is unknown; ask for frame, index, presentation_time_ns",
    ),
    "a parameter without a value": (lambda: parameter("steps"), "parameters.steps: is empty"),
    "a sequence of a half": (
        lambda: parameter("sequence_id", double_param=0.5),
        "parameters.sequence_id: is no integer and no string",
    ),
    "a sequence without an id": (
        lambda: parameter("sequence_start", bool_param=True),
        "parameters.sequence_id: is missing",
    ),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_is_refused_by_name(server: Served, name: str) -> None:
    make, problem = GARBAGE[name]
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = streaming(channel)
        for message in (make(), request()):
            await call.write(message)
        await call.done_writing()
        refused, *made = [answer async for answer in call]
    assert refused.error_message.startswith(f"INVALID_FIELD: {problem}")
    assert refused.infer_response.id == "a"
    assert len(made) == 5, "the stream goes on"
    assert server.gateway.admission.active == 0


async def test_what_is_no_message_ends_the_call(server: Served) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")()
        await call.write(b"\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError, match="cannot be read as ModelInferRequest"):
            await call.read()


async def test_who_does_not_read_is_sent_away(server: Served) -> None:
    samples = 10**6
    long = request(inputs=[tensor(shape=(samples,))], raw_input_contents=[bytes(2 * samples)])
    # Small flow control windows, so that little fits on the way to the client.
    options = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
    async with grpc.aio.insecure_channel(server.address, options=options) as channel:
        call = streaming(channel)
        await call.write(long)
        await until(lambda: server.gateway.admission.active == 1)
        await until(lambda: server.gateway.admission.active == 0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
    assert refusal(caught.value).reason == "SLOW_READER"


def test_typed_contents_are_tensors_too() -> None:
    sent = tensor(shape=(2,)) | {"contents": {"int_contents": [5, -1]}}
    picture = tensor("portrait", "BYTES", (1,)) | {"contents": {"bytes_contents": [b"12"]}}
    read = read_request(request(inputs=[sent, picture], raw_input_contents=[]))
    assert np.frombuffer(read.audio, "<i2").tolist() == [5, -1]
    assert read.portrait == b"12"


def test_another_version_of_the_model_is_refused() -> None:
    with pytest.raises(InvalidFieldError, match="model_version: is '2'"):
        read_request(request(model_version="2"))


def streaming(channel: grpc.aio.Channel) -> Any:
    return channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer",
        kserve.ModelInferRequest.SerializeToString,
        kserve.ModelStreamInferResponse.FromString,
    )()
