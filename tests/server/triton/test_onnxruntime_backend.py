"""Triton's onnxruntime backend in Python, inside a real Triton."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.support.toy_triton import add_model, doubling, infer, onnx_model, served

pytestmark = pytest.mark.slow

WAIT_FOR_A_BATCH = "dynamic_batching { max_queue_delay_microseconds: 300000 }"
TABLE = np.arange(4, dtype=np.float32) * 10


def batched_model():
    """Looks a number up, and tells with how many others a caller was run."""
    rows = ["batch", 1]
    return onnx_model(
        [
            helper.make_node("Gather", ["table", "index"], ["value"]),
            helper.make_node("Shape", ["index"], ["shape"]),
            helper.make_node("Gather", ["shape", "zero"], ["size"]),
            helper.make_node("Expand", ["size", "shape"], ["batch_size"]),
        ],
        [("index", TensorProto.INT64, rows)],
        [("value", TensorProto.FLOAT, rows), ("batch_size", TensorProto.INT64, rows)],
        {"table": TABLE, "zero": np.array([0])},
    )


def typed_model():
    """Passes every type through that our networks use."""
    types = {
        "bytes": TensorProto.UINT8,
        "integers": TensorProto.INT64,
        "halves": TensorProto.FLOAT16,
        "floats": TensorProto.FLOAT,
    }
    shape = ["batch", "length"]
    return onnx_model(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in types],
        [(name, dtype, shape) for name, dtype in types.items()],
        [(f"{name}_out", dtype, shape) for name, dtype in types.items()],
    )


def adding_model():
    """Adds two vectors, which config.pbtxt cannot tell must be of one length."""
    return onnx_model(
        [helper.make_node("Add", ["a", "b"], ["sum"])],
        [("a", TensorProto.FLOAT, ["n"]), ("b", TensorProto.FLOAT, ["m"])],
        [("sum", TensorProto.FLOAT, ["k"])],
    )


@pytest.fixture(scope="module")
def grpc_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    repository = tmp_path_factory.mktemp("repository")
    add_model(repository, "batched", batched_model(), max_batch_size=8, extra=WAIT_FOR_A_BATCH)
    add_model(repository, "typed", typed_model(), max_batch_size=2)
    add_model(repository, "adding", adding_model())
    add_model(
        repository,
        "renamed",
        doubling(),
        max_batch_size=8,
        filename="other.onnx",
        extra='default_model_filename: "other.onnx"',
    )
    with served(repository, tmp_path_factory.mktemp("triton")) as triton:
        yield triton.grpc_url


@pytest.fixture
async def client(grpc_url: str) -> AsyncIterator[InferenceServerClient]:
    async with InferenceServerClient(grpc_url) as client:
        yield client


def indices(*values: int) -> dict[str, Any]:
    return {"index": np.array(values, dtype=np.int64).reshape(-1, 1)}


async def test_every_type_comes_back_as_it_was_sent(client: InferenceServerClient):
    rng = np.random.default_rng(1)
    inputs = {
        "bytes": rng.integers(0, 256, (2, 5), dtype=np.uint8),
        "integers": rng.integers(-(2**62), 2**62, (2, 5), dtype=np.int64),
        "halves": rng.standard_normal((2, 5)).astype(np.float16),
        "floats": rng.standard_normal((2, 5)).astype(np.float32),
    }
    outputs = await infer(client, "typed", inputs)
    assert outputs.keys() == {f"{name}_out" for name in inputs}
    for name, array in inputs.items():
        np.testing.assert_array_equal(outputs[f"{name}_out"], array, strict=True)


async def test_a_large_tensor_survives_the_round_trip(client: InferenceServerClient):
    x = np.random.default_rng(2).standard_normal((1, 5_000_000)).astype(np.float32)
    outputs = await infer(client, "renamed", {"x": x})
    np.testing.assert_array_equal(outputs["y"], x + x, strict=True)


async def test_requests_at_the_same_time_are_one_execution(client: InferenceServerClient):
    requests = [indices(0), indices(1, 2), indices(3)]
    names = ["value", "batch_size"]
    answers = await asyncio.gather(*(infer(client, "batched", r, names) for r in requests))
    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer["value"], TABLE[request["index"]], strict=True)
        assert np.all(answer["batch_size"] == 4)


async def test_requests_of_one_execution_may_ask_for_different_outputs(
    client: InferenceServerClient,
):
    value, batch_size = await asyncio.gather(
        infer(client, "batched", indices(2), ["value"]),
        infer(client, "batched", indices(1), ["batch_size"]),
    )
    assert value == {"value": TABLE[2]}
    assert batch_size == {"batch_size": 2}


async def test_a_request_that_fails_does_not_fail_the_others_of_its_batch(
    client: InferenceServerClient,
):
    good, bad, also_good = await asyncio.gather(
        infer(client, "batched", indices(1), ["value"]),
        infer(client, "batched", indices(77), ["value"]),
        infer(client, "batched", indices(3), ["value"]),
        return_exceptions=True,
    )
    assert (good, also_good) == ({"value": TABLE[1]}, {"value": TABLE[3]})
    assert isinstance(bad, InferenceServerException)
    assert bad.status() == "StatusCode.INVALID_ARGUMENT"


async def test_a_wrong_shape_is_an_error_and_the_next_request_works(
    client: InferenceServerClient,
):
    five, three = np.ones(5, np.float32), np.ones(3, np.float32)
    for _ in range(3):
        with pytest.raises(InferenceServerException) as caught:
            await infer(client, "adding", {"a": five, "b": three})
        assert caught.value.status() != "StatusCode.UNAVAILABLE"
        outputs = await infer(client, "adding", {"a": five, "b": five})
        np.testing.assert_array_equal(outputs["sum"], five + five, strict=True)
