"""KServe's other methods over real gRPC, by Triton's own client, with a fake engine."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from tests.support import kserve
from tests.support.fake_engine import FakeEngine
from tests.support.kserve import MODEL, ask, asked, audio
from tests.support.serving import Served, portrait, served, small_windows, speech


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(
        FakeEngine(), tmp_path, small_windows(), default_portrait=portrait()
    ) as running:
        yield running


@pytest.fixture
async def client(server: Served) -> AsyncIterator[aio.InferenceServerClient]:
    async with aio.InferenceServerClient(server.address) as running:
        yield running


async def test_it_is_live_and_ready(client: aio.InferenceServerClient) -> None:
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready(MODEL)
    assert await client.is_model_ready(MODEL, "1")
    assert not await client.is_model_ready(MODEL, "2")
    assert not await client.is_model_ready("denoiser")


async def test_it_says_what_it_is(client: aio.InferenceServerClient) -> None:
    described: Any = await client.get_server_metadata(as_json=True)
    assert described["name"] == "echomimic-server"
    model: Any = await client.get_model_metadata(MODEL, as_json=True)
    tensors = [
        (of["name"], of["datatype"], of["shape"]) for of in (*model["inputs"], *model["outputs"])
    ]
    assert tensors == [
        ("audio", "INT16", ["-1"]),
        ("frame", "BYTES", ["1"]),
        ("index", "INT64", ["1"]),
        ("presentation_time_ns", "INT64", ["1"]),
    ]


async def test_its_model_is_decoupled(client: aio.InferenceServerClient) -> None:
    config: Any = (await client.get_model_config(MODEL)).config  # pyright: ignore
    assert config.model_transaction_policy.decoupled
    assert config.max_batch_size == 0
    assert [of.name for of in config.input] == ["audio"]
    assert [of.name for of in config.output] == ["frame", "index", "presentation_time_ns"]


async def test_without_a_portrait_of_the_servers_one_is_needed(tmp_path: Path) -> None:
    async with (
        served(FakeEngine(), tmp_path, small_windows()) as server,
        aio.InferenceServerClient(server.address) as client,
    ):
        config: Any = (await client.get_model_config(MODEL)).config  # pyright: ignore
        model: Any = await client.get_model_metadata(MODEL)
    for inputs in (config.input, model.inputs):
        assert [of.name for of in inputs] == ["audio", "portrait"]


async def test_requests_are_counted(server: Served, client: aio.InferenceServerClient) -> None:
    right = asked(audio(speech(3200)))
    await ask(server.address, right, asked(kserve.portrait(b"")), right)
    answer: Any = await client.get_inference_statistics(MODEL)
    (stats,) = answer.model_stats
    counted = stats.inference_stats
    assert (stats.inference_count, counted.success.count, counted.fail.count) == (2, 2, 1)
    computed = (counted.compute_input, counted.compute_infer, counted.compute_output)
    assert [of.count for of in (counted.queue, *computed)] == [2, 2, 2, 2]
    assert counted.success.ns == counted.queue.ns + counted.compute_infer.ns


async def test_one_answer_is_refused_with_the_reason(client: aio.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"is decoupled: .* use ModelStreamInfer"):
        await client.infer(MODEL, [audio(speech(3200))])


async def test_other_models_are_refused(client: aio.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"name: is 'denoiser'; .* model avatar"):
        await client.get_model_config("denoiser")
    with pytest.raises(InferenceServerException, match="model_version: is '2'; leave it out"):
        await client.get_model_metadata(MODEL, "2")


async def test_no_memory_is_shared(client: aio.InferenceServerClient) -> None:
    for kind in ("system", "cuda"):
        status: Any = await getattr(client, f"get_{kind}_shared_memory_status")()
        assert not status.regions
        await getattr(client, f"unregister_{kind}_shared_memory")()
    with pytest.raises(InferenceServerException, match="SystemSharedMemoryRegister is not built"):
        await client.register_system_shared_memory("region", "/key", 64)
    with pytest.raises(InferenceServerException, match="CudaSharedMemoryRegister is not built"):
        await client.register_cuda_shared_memory("region", b"aGFuZGxl", 0, 64)


async def test_what_is_not_offered_says_so(client: aio.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="RepositoryIndex is not built") as caught:
        await client.get_model_repository_index()
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
