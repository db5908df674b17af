"""Newer ONNX opsets: who gets them, and that they compute the same."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import make_tiny
from export.models.denoiser.model import Denoiser
from export.networks.catalogue import BUILDS, networks
from export.onnx.compare import ROUNDING
from export.onnx.opsets import OLDEST, SINGLE_OPERATORS, Opset, opset_of
from export.onnx.trace import write_onnx
from export.precision.policy import Precision
from export.repository.exporter import export_network
from server.triton.contract import Variant

SINGLE = ("Attention", "RotaryEmbedding", "RMSNormalization")


@pytest.mark.parametrize(
    ("network", "precision", "newest", "expected"),
    [
        ("denoiser", "fp16", 23, 23),
        ("denoiser", "fp8", 23, 23),
        ("denoiser", "fp16", 22, 20),
        ("denoiser", "fp32", 23, 20),
        ("denoiser", "bf16", 23, 20),
        ("denoiser", "int8", 23, 20),
        ("vae_decoder", "bf16", 23, 22),
        ("vae_encoder", "bf16", 22, 22),
        ("vae_decoder", "bf16", 20, 20),
        ("vae_decoder", "fp16", 23, 20),
        ("text_encoder", "bf16", 23, 20),
    ],
)
def test_a_newer_opset_is_for_those_who_gain_by_it(
    network: str, precision: Precision, newest: Opset, expected: Opset
) -> None:
    assert opset_of(network, precision, newest) == expected


def quiet(stage: str, *, result: bool = False) -> None:
    """A report that nobody reads."""


def exported(checkpoint: Checkpoint, folder: Path, precision: Precision, opset: Opset) -> Path:
    build = BUILDS[checkpoint.variant]["denoiser"]
    export_network(build(checkpoint, precision, opset=opset), folder, quiet, precision)
    return folder / "1" / "model.onnx"


def counted(file: Path) -> tuple[int, Counter[str]]:
    model = onnx.load(file)
    (opset,) = (each.version for each in model.opset_import if not each.domain)
    return opset, Counter(node.op_type for node in model.graph.node)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("variant", ["flash", "preview"])
def test_single_operators_compute_what_the_module_computes(
    tmp_path: Path, variant: Variant, precision: Precision
) -> None:
    # The export compares each with its torch module: in fp32 within 1e-4.
    make_tiny(tmp_path / "checkpoint", seed=0, variant=variant)
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    opset, single = counted(exported(checkpoint, tmp_path / "single", precision, SINGLE_OPERATORS))
    assert opset == 23
    assert all(single[name] for name in SINGLE)
    assert not single["Softmax"]
    assert ROUNDING["fp16"] == 0.01
    oldest, plain = counted(exported(checkpoint, tmp_path / "plain", precision, OLDEST))
    assert oldest == 20
    assert not any(plain[name] for name in SINGLE)
    # Each of the blocks' queries and keys is turned.
    assert single["RotaryEmbedding"] == 4
    assert plain["Softmax"] == single["Attention"]


@pytest.mark.slow
def test_convolutions_in_bf16_have_the_opset_that_cuda_has_them_in(tmp_path: Path) -> None:
    make_tiny(tmp_path, seed=0)
    checkpoint = Checkpoint(tmp_path)
    cases: tuple[tuple[Opset, Opset], ...] = ((23, 22), (20, 20))
    for newest, expected in cases:
        build = networks(checkpoint, "bf16", newest=newest)["vae_decoder"]
        write_onnx(build(checkpoint), tmp_path / "model.onnx", "bf16")
        assert counted(tmp_path / "model.onnx")[0] == expected


def test_times_are_embedded_as_cosines_and_sines(tmp_path: Path) -> None:
    make_tiny(tmp_path, seed=0)
    checkpoint = Checkpoint(tmp_path)
    denoiser = BUILDS["flash"]["denoiser"](checkpoint).module
    assert isinstance(denoiser, Denoiser)
    seen: list[torch.Tensor] = []
    denoiser.time_embedding.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    timesteps = torch.linspace(0, 1000, 1001)[:, None]
    with torch.inference_mode():
        denoiser.embed_time(timesteps)
    angles = timesteps.double().numpy() * denoiser.time_frequencies.numpy()
    expected = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)
    np.testing.assert_allclose(seen[0].numpy(), expected, rtol=0, atol=1e-7)
