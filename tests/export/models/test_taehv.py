"""TAEHV against a plain twin that takes one frame after the other, and lighter decoders' files."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from export.checkpoint.errors import CheckpointError, CheckpointMismatchError
from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import make_tiny
from export.models.vae import coder
from export.models.vae.past import run_chunk
from export.models.vae.taehv import (
    Grow,
    MemoryBlock,
    TaehvDecoder,
    TaehvSizes,
    build_taehv,
    load_taehv,
    public_tensors,
)
from export.networks.exportable import Shape
from export.networks.vae import LightDecoder, VaeChoice, light_decoder, vae_decoder
from export.onnx.compare import check_export
from export.onnx.trace import write_onnx
from export.precision.policy import Precision
from server.triton.contract import VAE_DECODER

TOLERANCE = 1e-5
SMALL = (24, 16, 8, 8)
WIDTHS = (256, 128, 64, 64)
"""Of taew2_1."""


def published_shapes() -> dict[str, tuple[int, ...]]:
    """The decoder's part of taew2_1 by name, as ``taehv.py`` of madebyollin/taehv builds it."""
    shapes: dict[str, tuple[int, ...]] = {"1.weight": (256, 16, 3, 3), "1.bias": (256,)}
    for first, width, following, frames in (
        (3, 256, 128, 1),
        (9, 128, 64, 2),
        (15, 64, 64, 2),
    ):
        for block in range(first, first + 3):
            for layer, inputs in ((0, 2 * width), (2, width), (4, width)):
                shapes[f"{block}.conv.{layer}.weight"] = (width, inputs, 3, 3)
                shapes[f"{block}.conv.{layer}.bias"] = (width,)
        shapes[f"{first + 4}.conv.weight"] = (width * frames, width, 1, 1)
        shapes[f"{first + 5}.weight"] = (following, width, 3, 3)
    shapes |= {"22.weight": (3, 64, 3, 3), "22.bias": (3,)}
    return {f"decoder.{name}": shape for name, shape in shapes.items()}


def network(sizes: TaehvSizes) -> nn.Sequential:
    torch.manual_seed(0)
    return build_taehv(sizes).eval().requires_grad_(False)


def latents(frames: int = 4) -> Tensor:
    return torch.randn(2, 16, frames, 4, 6, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def one_by_one(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Decodes latents [B, z, T, h, w] as the authors' loop does: a frame through all layers."""
    remembered: dict[int, Tensor] = {}

    def through(frame: Tensor, index: int) -> Iterator[Tensor]:
        if index == len(layers):
            yield frame
            return
        layer = layers[index]
        if isinstance(layer, MemoryBlock):
            before = remembered.get(index, torch.zeros_like(frame))
            remembered[index] = frame
            changed = layer.conv(torch.cat([frame, before], dim=1))
            yield from through((changed + frame).relu(), index + 1)
        elif isinstance(layer, Grow):
            for later in layer.conv(frame).chunk(layer.frames, dim=1):
                yield from through(later, index + 1)
        else:
            yield from through(layer(frame[:, None])[:, 0], index + 1)

    frames = [made for frame in x.unbind(2) for made in through(frame, 0)]
    return torch.stack(frames[3:], dim=2) * 2 - 1


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_all_frames_at_once_are_those_made_one_by_one(patch: int) -> None:
    layers = network(TaehvSizes(SMALL, patch))
    _, video = TaehvDecoder(layers)(latents())
    assert video.shape == (2, 3, 13, 32, 48)
    torch.testing.assert_close(
        video, one_by_one(layers, latents()).clamp(-1, 1), atol=TOLERANCE, rtol=0
    )


def test_chunks_are_what_all_frames_at_once_are() -> None:
    layers = network(TaehvSizes(SMALL))
    frames = latents().transpose(1, 2)
    chunks, left = [], None
    for start, end in ((0, 1), (1, 2), (2, 4)):
        made, left = run_chunk(layers, frames[:, start:end], left)
        chunks.append(made)
    torch.testing.assert_close(torch.cat(chunks, dim=1), layers(frames), atol=TOLERANCE, rtol=0)


def test_the_tensors_are_those_of_the_published_file() -> None:
    with torch.device("meta"):
        tensors = public_tensors(build_taehv(TaehvSizes()))
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == published_shapes()


@pytest.mark.parametrize("patch", [1, 2])
def test_sizes_are_those_of_the_tensors(patch: int) -> None:
    layers = network(TaehvSizes(SMALL, patch))
    # The encoder of the file is of no use here.
    tensors = public_tensors(layers) | {"encoder.0.weight": torch.zeros(64, 3, 3, 3)}
    loaded = load_taehv(tensors)
    assert torch.equal(loaded(latents().transpose(1, 2)), layers(latents().transpose(1, 2)))


def test_of_a_stage_that_learned_more_frames_the_last_are_taken() -> None:
    layers = network(TaehvSizes(SMALL))
    tensors = public_tensors(layers)
    key = "decoder.7.conv.weight"
    more = tensors | {key: torch.cat([torch.ones_like(tensors[key]), tensors[key]])}
    assert torch.equal(public_tensors(load_taehv(more))[key], tensors[key])


@pytest.mark.parametrize(
    ("name", "tensor", "complaint"),
    [
        ("decoder.22.weight", None, "no TAEHV, which has decoder.22.weight"),
        ("decoder.22.weight", torch.zeros(5, 8, 3, 3), "5 outputs"),
        ("decoder.4.conv.0.bias", None, "1 missing: decoder.4.conv.0.bias"),
        ("decoder.8.weight", torch.zeros(16, 8, 3, 3), "decoder.8.weight has shape"),
        ("decoder.23.weight", torch.zeros(1), "1 unknown: decoder.23.weight"),
    ],
)
def test_a_file_of_another_network_is_named(
    tmp_path: Path, name: str, tensor: Tensor | None, complaint: str
) -> None:
    tensors = {**public_tensors(network(TaehvSizes(SMALL))), name: tensor}
    file = tmp_path / "taew2_1.safetensors"
    save_file({key: value for key, value in tensors.items() if value is not None}, file)
    with pytest.raises(CheckpointMismatchError, match=complaint) as caught:
        light_decoder(LightDecoder("taew2_1", file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def saved(folder: Path, tensors: dict[str, Tensor]) -> Path:
    file = folder / "decoder.safetensors"
    save_file(tensors, file)
    return file


def test_raw_latents_are_those_of_the_vae(tmp_path: Path) -> None:
    layers = network(TaehvSizes(SMALL))
    file = saved(tmp_path, public_tensors(layers))
    normalised, raw = (
        light_decoder(LightDecoder(kind, file)) for kind in ("taew2_1", "lighttaew2_1")
    )
    expected = normalised(normalised.denormalised(latents()))[1]
    assert torch.equal(raw(latents())[1], expected)
    assert not torch.equal(normalised(latents())[1], expected)


def test_lightvae_is_the_vae_at_a_quarter_of_its_width(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = coder.build_vae({"dim": 24})
    tensors = {key: tensor.contiguous() for key, tensor in coder.public_tensors(vae).items()}
    assert len(tensors) == 194
    assert sum(tensor.numel() for tensor in tensors.values()) / 1e6 == pytest.approx(8.0, abs=0.1)
    loaded = light_decoder(LightDecoder("lightvaew2_1", saved(tmp_path, tensors)))
    given = latents(2)[:1]
    assert torch.equal(loaded(given)[1], coder.VaeDecoder(vae)(given)[1])
    other = saved(tmp_path, public_tensors(network(TaehvSizes(SMALL))))
    with pytest.raises(CheckpointMismatchError, match="is no lightvaew2_1"):
        light_decoder(LightDecoder("lightvaew2_1", other))


@pytest.mark.parametrize(
    ("kind", "there", "complaint"),
    [("taesd", True, "taesd is no decoder"), ("taew2_1", False, "is missing")],
)
def test_what_is_no_decoder_is_refused(
    tmp_path: Path, kind: str, there: bool, complaint: str
) -> None:
    file = tmp_path / "file"
    if there:
        file.write_bytes(b"")
    with pytest.raises(CheckpointError, match=complaint):
        LightDecoder(kind, file)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_light_decoder_is_exported_in_the_others_place(
    tmp_path: Path, precision: Precision, whole: bool
) -> None:
    make_tiny(tmp_path, seed=0)
    file = saved(tmp_path, public_tensors(network(TaehvSizes(SMALL, 2))))
    how = VaeChoice(LightDecoder("taew2_1", file), whole)
    made = vae_decoder(Checkpoint(tmp_path), precision, how)
    assert made.network is VAE_DECODER
    path = tmp_path / "model.onnx"
    write_onnx(made, path, precision)
    for shape in (Shape(1, 1, 6, 10), Shape(3, 5, 4, 8)):
        check_export(made.network, path, made.module, made.inputs(shape), precision)
