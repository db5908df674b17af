"""Messages put together by hand are the ones that protobuf reads and writes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from server.triton import wire
from server.triton.contract import DENOISER_CACHED, TEXT_ENCODER, VAE_DECODER

pb: Any = service_pb2
RANDOM = np.random.default_rng(0)


def cached_inputs() -> dict[str, np.ndarray]:
    shapes = {
        "latents": (2, 16, 3, 8, 8),
        "condition": (2, 20, 3, 8, 8),
        "timestep": (2, 1),
        "residual": (2, 48, 300),
    }
    return {n: RANDOM.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


def parsed(*parts: list[bytes]) -> tuple[Any, dict[str, np.ndarray]]:
    request = pb.ModelInferRequest.FromString(wire.request(*parts))
    types = {"FP32": np.float32, "INT64": np.int64, "UINT8": np.uint8}
    given = {
        tensor.name: np.frombuffer(raw, types[tensor.datatype]).reshape(tensor.shape)
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }
    return request, given


def test_protobuf_reads_a_request_of_constants_and_what_changes() -> None:
    inputs = cached_inputs()
    constants = {name: inputs.pop(name) for name in ("condition", "residual")}
    header = wire.header(DENOISER_CACHED, DENOISER_CACHED.outputs)
    request, given = parsed(
        header, wire.tensors(DENOISER_CACHED, constants), wire.tensors(DENOISER_CACHED, inputs)
    )
    assert request.model_name == "denoiser_cached"
    assert [output.name for output in request.outputs] == ["velocity"]
    assert given.keys() == {"condition", "residual", "latents", "timestep"}
    for name, array in (constants | inputs).items():
        np.testing.assert_array_equal(given[name], array)


def test_arrays_larger_than_a_piece_and_not_contiguous_arrive_whole() -> None:
    residual = RANDOM.standard_normal((300, 1100, 2)).astype(np.float32).T
    assert residual.nbytes > 2 * wire.PIECE_BYTES
    _, given = parsed(wire.tensors(DENOISER_CACHED, {"residual": residual}))
    np.testing.assert_array_equal(given["residual"], residual)


def test_integers_arrive() -> None:
    tokens = np.arange(512, dtype=np.int64)[None]
    _, given = parsed(wire.tensors(TEXT_ENCODER, {"token_ids": tokens}))
    np.testing.assert_array_equal(given["token_ids"], tokens)


def response(**arrays: np.ndarray) -> Any:
    message = pb.ModelInferResponse(model_name="vae_decoder", id="7")
    message.parameters["priority"].uint64_param = 2**40
    for name, array in arrays.items():
        datatype = {"float32": "FP32", "uint8": "UINT8"}[str(array.dtype)]
        message.outputs.add(name=name, datatype=datatype, shape=array.shape)
        message.raw_output_contents.append(array.tobytes())
    return message


def test_what_protobuf_writes_is_read_without_a_copy() -> None:
    frames = RANDOM.integers(0, 256, (1, 5, 16, 16, 3), np.uint8)
    video = RANDOM.standard_normal((1, 3, 5, 16, 16)).astype(np.float32)
    data = response(frames=frames, video=video).SerializeToString()
    arrays = wire.arrays(VAE_DECODER, data)
    np.testing.assert_array_equal(arrays["frames"], frames)
    np.testing.assert_array_equal(arrays["video"], video)
    assert all(np.shares_memory(array, np.frombuffer(data, np.uint8)) for array in arrays.values())


@given(st.binary(max_size=200), st.integers(0, 10_000), st.booleans())
def test_anything_else_is_no_response(noise: bytes, cut: int, prefixed: bool) -> None:
    whole = response(frames=np.zeros((1, 5, 16, 16, 3), np.uint8)).SerializeToString()
    data = whole[: cut % len(whole)] + noise if prefixed else noise
    try:
        wire.arrays(VAE_DECODER, data)
    except wire.WireError:
        return


@pytest.mark.parametrize("damage", ["name", "shape", "missing", "cut"])
def test_a_response_that_contradicts_itself_is_refused(damage: str) -> None:
    message = response(frames=np.zeros((1, 5, 16, 16, 3), np.uint8))
    if damage == "name":
        message.outputs[0].name = "pictures"
    if damage == "shape":
        message.outputs[0].shape[1] = 6
    if damage == "missing":
        del message.raw_output_contents[:]
    data = message.SerializeToString()
    with pytest.raises(wire.WireError):
        wire.arrays(VAE_DECODER, data[:-1] if damage == "cut" else data)
