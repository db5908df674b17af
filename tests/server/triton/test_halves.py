"""16 bits on the wire: a fake engine, and a real Triton with a network exported in fp16."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from export.checkpoint.layout import Checkpoint
from export.networks.catalogue import networks
from export.networks.exportable import Shape
from export.onnx.compare import ROUNDING, computing_in_32_bits
from export.repository.exporter import export_network, write_config
from export.tensorrt.profiles import Workload
from server import parts
from server.triton.client import TritonEngine
from server.triton.contract import DENOISER_CACHED, VAE_DECODER, Arrays, Network, check
from server.triton.engine import Engine, Placed, Priority, Results
from server.triton.halves import HalvingEngine, converted
from server.triton.process import start_triton
from server.triton.regions import INLINE_BYTES
from tests.support.paths import ROOT
from tests.support.toy_triton import INFERENCE_TIMEOUT_S, find_installation

LATENTS = np.random.default_rng(0).standard_normal((1, 16, 2, 8, 8), dtype=np.float32)


class Recorder(Engine):
    """Notes what it is sent, and answers with the thirds of one."""

    def __init__(self) -> None:
        self.sent: list[tuple[Network, Arrays]] = []

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        check(network.inputs, inputs, where=network.name)
        self.sent.append((network, inputs))
        types = {"FP16": np.float16, "FP32": np.float32, "UINT8": np.uint8}
        return {t.name: np.array([1 / 3]).astype(types[t.dtype]) for t in network.outputs}


@pytest.mark.parametrize("nbytes", [1, 2**30])
async def test_halves_are_those_of_numpy_in_however_many_parts(
    monkeypatch: pytest.MonkeyPatch, nbytes: int
) -> None:
    monkeypatch.setattr(parts, "THREADS", 3)
    monkeypatch.setattr(parts, "PART_BYTES", nbytes)
    random = np.random.default_rng(1)
    latents = random.standard_normal((1, 16, 4, 32, 32), dtype=np.float32)[:, :, ::-1]
    assert latents.nbytes // 2 > INLINE_BYTES
    (narrow,) = (
        await converted(VAE_DECODER.on_the_wire("fp16").inputs, {"latents": latents})
    ).values()
    np.testing.assert_array_equal(narrow, latents.astype(np.float16), strict=True)
    (wide,) = (await converted(VAE_DECODER.inputs, {"latents": narrow})).values()
    np.testing.assert_array_equal(wide, narrow.astype(np.float32), strict=True)
    assert (await converted(VAE_DECODER.inputs, {"latents": wide}))["latents"] is wide


async def test_a_network_in_16_bits_is_sent_halves_and_read_in_float32() -> None:
    recorder = Recorder()
    engine = HalvingEngine(recorder, {"vae_decoder": "bf16"})
    results = await engine.run(VAE_DECODER, {"latents": LATENTS})
    ((network, sent),) = recorder.sent
    assert [t.dtype for t in network.inputs] == ["FP16"]
    np.testing.assert_array_equal(sent["latents"], LATENTS.astype(np.float16))
    assert results["video"].dtype == np.float32
    assert results["video"] == np.float32(np.float16(1 / 3))
    assert results["frames"].dtype == np.uint8


@pytest.mark.parametrize("precision", ["fp32", "int8"])
async def test_other_networks_are_left_alone(precision: str) -> None:
    recorder = Recorder()
    engine = HalvingEngine(recorder, {"vae_decoder": precision, "denoiser": "fp16"})
    await engine.run(VAE_DECODER, {"latents": LATENTS})
    ((network, sent),) = recorder.sent
    assert network is VAE_DECODER
    assert sent["latents"] is LATENTS


async def test_constants_are_rounded_once() -> None:
    placings: list[Arrays] = []

    class Placing(Recorder):
        @asynccontextmanager
        async def place(self, network: Network, constants: Arrays) -> AsyncGenerator[Placed]:
            placings.append(constants)
            async with super().place(network, constants) as placed:
                yield placed

    recorder = Placing()
    condition = np.ones((1, 20, 2, 8, 8), np.float32)
    step = {
        "latents": LATENTS,
        "timestep": np.full((1, 1), 999.9, np.float32),
        "residual": np.ones((1, 2, 32, 8), np.float32),
    }
    engine = HalvingEngine(recorder, {"denoiser_cached": "fp16"})
    async with engine.place(DENOISER_CACHED, {"condition": condition}) as placed:
        for _ in range(2):
            await placed.run(step)
    (placing,) = placings
    assert placing["condition"].dtype == np.float16
    for _, sent in recorder.sent:
        assert sent["condition"] is placing["condition"]
        # What halves would be too coarse for stays as it is.
        assert sent["timestep"] == np.float32(999.9)
        assert sent["residual"].dtype == np.float32


@pytest.mark.slow
async def test_triton_takes_and_gives_halves(tiny: Checkpoint, tmp_path: Path) -> None:
    exportable = networks(tiny, "fp16")["denoiser"](tiny)
    network, folder = exportable.network, tmp_path / "models" / "denoiser"
    export_network(exportable, folder, lambda *_, **__: None, "fp16")
    write_config(network, folder, Workload("flash", [(64, 64)], [5]), "fp16")
    assert "TYPE_FP16" in (folder / "config.pbtxt").read_text()
    inputs = exportable.inputs(Shape(batch=1, frames=2, height=8, width=8))
    with torch.inference_mode(), computing_in_32_bits(exportable.module):
        expected, _ = exportable.module(*inputs.values())
    async with start_triton(
        find_installation(),
        tmp_path / "models",
        runtime_dir=tmp_path,
        log_path=tmp_path / "triton.log",
    ) as triton:
        client = TritonEngine(triton.grpc_url, timeout_s=INFERENCE_TIMEOUT_S)
        engine = HalvingEngine(client, {"denoiser": "fp16"})
        given = {name: tensor.numpy() for name, tensor in inputs.items()}
        velocity = (await engine.run(network, given, ["velocity"]))["velocity"]
        await client.close()
    assert velocity.dtype == np.float32
    difference = np.linalg.norm(velocity - expected.numpy()) / np.linalg.norm(expected.numpy())
    assert difference <= ROUNDING["fp16"]


@pytest.fixture(scope="module")
def tiny() -> Checkpoint:
    return Checkpoint(ROOT / "build" / "tiny" / "checkpoint")
