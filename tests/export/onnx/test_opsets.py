"""Newer ONNX opsets: who gets them, and that they compute the same."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import make_tiny
from export.models.denoiser.model import Denoiser
from export.networks.catalogue import BUILDS, networks
from export.networks.exportable import Exportable, Inputs, Shape
from export.onnx.compare import ROUNDING
from export.onnx.opsets import OLDEST, SINGLE_OPERATORS, Opset, opset_of
from export.onnx.trace import write_onnx
from export.precision.policy import Precision
from export.repository.exporter import export_network
from server.triton.contract import Network, Tensor, Variant

PICTURE = Tensor("picture", "FP32", (1, "height", "width"))
PICTURES = Network("convolution", (PICTURE,), (replace(PICTURE, name="moved"),), max_batch_size=4)
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


class Convolution(nn.Module):
    """A layer in 16 bits whose inputs and outputs are in 32."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3).to(torch.bfloat16)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return self.layer(picture.bfloat16()).float()


def pictures(shape: Shape) -> Inputs:
    return {"picture": torch.zeros(shape.batch, 1, *shape.picture)}


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
@pytest.mark.parametrize(("variant", "precision"), [("flash", "fp16"), ("preview", "fp32")])
def test_single_operators_compute_what_the_module_computes(
    tmp_path: Path, variant: Variant, precision: Precision
) -> None:
    # The export compares each with its torch module: in fp32 within 1e-4.
    make_tiny(tmp_path / "checkpoint", seed=0, variant=variant)
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    opset, nodes = counted(exported(checkpoint, tmp_path / "single", precision, SINGLE_OPERATORS))
    assert opset == 23
    assert all(nodes[name] for name in SINGLE)
    assert not nodes["Softmax"]
    # Each of the blocks' queries and keys is turned.
    assert nodes["RotaryEmbedding"] == 4
    assert ROUNDING["fp16"] == 0.01


@pytest.mark.slow
def test_the_oldest_opset_has_no_single_operators(tmp_path: Path) -> None:
    make_tiny(tmp_path / "checkpoint", seed=0)
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    opset, nodes = counted(exported(checkpoint, tmp_path / "plain", "fp32", OLDEST))
    assert opset == 20
    assert nodes["Softmax"]
    assert not any(nodes[name] for name in SINGLE)


@pytest.mark.parametrize(("newest", "expected"), [(23, 22), (20, 20)])
def test_convolutions_in_bf16_have_the_opset_that_cuda_has_them_in(
    tmp_path: Path, newest: Opset, expected: Opset
) -> None:
    make_tiny(tmp_path, seed=0)
    checkpoint = Checkpoint(tmp_path)
    decoder = networks(checkpoint, "bf16", newest=newest)["vae_decoder"](checkpoint)
    assert decoder.opset == expected
    # The decoder itself takes minutes to trace.
    convolution = Exportable(PICTURES, Convolution(), pictures, opset=decoder.opset)
    write_onnx(convolution, tmp_path / "model.onnx", "bf16")
    assert counted(tmp_path / "model.onnx") == (expected, {"Cast": 2, "Conv": 1})


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
