"""The Wan VAE against the authors' program and against diffusers' cached loop."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    AutoencoderKLWan,
    WanCausalConv3d,
    WanRMS_norm,
)
from torch import Tensor

from export.checkpoint.errors import CheckpointMismatchError
from export.checkpoint.layout import Checkpoint
from export.models.vae.chunks import in_chunks
from export.models.vae.coder import VaeDecoder, VaeEncoder, load_vae, public_tensors
from export.models.vae.layers import CausalConv, RmsNorm
from export.networks.catalogue import networks
from export.networks.exportable import Exportable, Shape
from export.onnx.compare import run_onnx
from export.repository.model_config import MODEL_FILE
from server.triton.contract import VAE_DECODER, VAE_ENCODER, Network
from tests.support.paths import TINY, TINY_REPOSITORY
from tests.support.reference import ReferenceFixture, assert_close, reference_fixture

TOLERANCE = 1e-4
LARGE = 64
"""Elements of a tensor that is certainly a weight."""


@pytest.fixture(scope="module")
def fixture() -> ReferenceFixture:
    return reference_fixture("vae")


@pytest.fixture(scope="module")
def vae(fixture: ReferenceFixture) -> AutoencoderKLWan:
    return load_vae(weights(fixture), fixture.config["model"])


def weights(fixture: ReferenceFixture) -> dict[str, Tensor]:
    return {key: torch.from_numpy(array) for key, array in fixture.weights().items()}


def cases(fixture: ReferenceFixture, name: str) -> dict[str, Tensor]:
    found = {
        key.removesuffix(f".{name}"): torch.from_numpy(array)
        for key, array in fixture.inputs.items()
        if key.endswith(f".{name}")
    }
    assert found
    return found


def normalised(vae: AutoencoderKLWan, mean: Tensor) -> Tensor:
    return (mean - statistics(vae, "latents_mean")) / statistics(vae, "latents_std")


def statistics(vae: AutoencoderKLWan, name: str) -> Tensor:
    return torch.tensor(vae.config[name]).view(1, -1, 1, 1, 1)


def test_every_stage_of_encoding_equals_the_reference(
    fixture: ReferenceFixture, vae: AutoencoderKLWan, subtests: pytest.Subtests
) -> None:
    encoder = VaeEncoder(vae)
    moments: list[Tensor] = []

    def record(_module: Any, _inputs: Any, output: Tensor) -> None:
        moments.append(output)

    encoder.quant_conv.register_forward_hook(record)
    for case, video in cases(fixture, "video").items():
        with torch.inference_mode():
            seen = {"mode": encoder.encode(video)}
        mean, log_variance = moments.pop().transpose(1, 2).chunk(2, dim=1)
        seen["params"] = torch.cat([normalised(vae, mean), log_variance], dim=1)
        stages = [key for key in fixture.outputs if key.startswith(f"{case}.")]
        assert stages
        for key in stages:
            with subtests.test(msg=key):
                actual = seen[key.removeprefix(f"{case}.")].numpy()
                assert_close(actual, fixture.outputs[key], TOLERANCE)


def test_every_decoded_video_equals_the_reference(
    fixture: ReferenceFixture, vae: AutoencoderKLWan, subtests: pytest.Subtests
) -> None:
    decoder = VaeDecoder(vae)
    for case, latents in cases(fixture, "latent").items():
        with subtests.test(msg=case), torch.inference_mode():
            _frames, video = decoder(latents)
            assert_close(video.numpy(), fixture.outputs[f"{case}.sample"], TOLERANCE)


def test_frames_are_the_video_truncated_to_8_bits(
    fixture: ReferenceFixture, vae: AutoencoderKLWan
) -> None:
    decoder = VaeDecoder(vae)
    for latents in cases(fixture, "latent").values():
        with torch.inference_mode():
            frames, video = decoder(latents)
        levels = np.floor((video.numpy() / np.float32(2) + np.float32(0.5)) * np.float32(255))
        assert frames.dtype == torch.uint8
        np.testing.assert_array_equal(frames.numpy(), np.moveaxis(levels, 1, -1))


def test_the_statistics_of_the_latents_are_the_authors(
    fixture: ReferenceFixture, vae: AutoencoderKLWan
) -> None:
    for module in (VaeEncoder(vae), VaeDecoder(vae)):
        for name in ("latents_mean", "latents_std"):
            expected = np.array(fixture.config[name], np.float32)
            np.testing.assert_array_equal(getattr(module, name).flatten().numpy(), expected)


@pytest.mark.parametrize("latent_frames", [1, 2, 4])
def test_one_pass_equals_the_cached_loop(vae: AutoencoderKLWan, latent_frames: int) -> None:
    torch.manual_seed(latent_frames)
    latents = torch.randn(2, vae.config["z_dim"], latent_frames, 2, 3)
    video = torch.rand(2, 3, 4 * latent_frames - 3, 16, 24) * 2 - 1
    with torch.inference_mode():
        encoded = normalised(vae, vae.encode(video, return_dict=False)[0].mode())
        assert_close(VaeEncoder(vae).encode(video).numpy(), encoded.numpy(), TOLERANCE)
        scaled = latents * statistics(vae, "latents_std") + statistics(vae, "latents_mean")
        decoded = vae.decode(scaled, return_dict=False)[0]
        assert_close(VaeDecoder(vae)(latents)[1].numpy(), decoded.numpy(), TOLERANCE)


@pytest.mark.parametrize("known_frames", [1, 5, 9])
def test_pictures_are_encoded_as_the_video_that_they_begin(
    vae: AutoencoderKLWan, known_frames: int
) -> None:
    torch.manual_seed(known_frames)
    pictures = torch.randint(256, (2, known_frames, 16, 24, 3), dtype=torch.uint8)
    # As the authors make it: [-1, 1], and 0 where nothing is known.
    video = torch.zeros(2, 3, 9, 16, 24)
    video[:, :, :known_frames] = pictures.permute(0, 4, 1, 2, 3) / 127.5 - 1
    encoder = VaeEncoder(vae)
    with torch.inference_mode():
        encoded = encoder(pictures, torch.zeros(2, 9 - known_frames))
        assert torch.equal(encoded, encoder.encode(video))


CODERS = {VAE_ENCODER: VaeEncoder, VAE_DECODER: VaeDecoder}


def as_exportable(network: Network, vae: AutoencoderKLWan) -> Exportable:
    def inputs(shape: Shape) -> dict[str, Tensor]:
        torch.manual_seed(shape.frames)
        if network is VAE_DECODER:
            return {"latents": torch.randn(shape.latents)}
        pictures = (shape.batch, shape.frames, *shape.picture, 3)
        return {
            "known": torch.randint(256, pictures, dtype=torch.uint8),
            "grey": torch.zeros(shape.batch, shape.video_frames - shape.frames),
        }

    coder = CODERS[network](vae)
    return Exportable(network, coder, inputs, in_chunks(coder))


@pytest.fixture(scope="module", params=[VAE_ENCODER, VAE_DECODER], ids=lambda network: network.name)
def exported(request: pytest.FixtureRequest) -> tuple[Exportable, Path]:
    if not TINY_REPOSITORY.exists():
        pytest.skip("no models; `make test` exports them")
    name, checkpoint = request.param.name, Checkpoint(TINY)
    return networks(checkpoint)[name](checkpoint), TINY_REPOSITORY / name / "1" / MODEL_FILE


def without_past(vae: AutoencoderKLWan) -> AutoencoderKLWan:
    """A VAE made of one for pictures: no convolution has weights for frames before."""
    vae = copy.deepcopy(vae)
    for layer in vae.modules():
        if isinstance(layer, WanCausalConv3d):
            layer.weight[:, :, :-1] = 0
    return vae


def float_output(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else outputs[-1]


@pytest.mark.parametrize("network", CODERS, ids=lambda network: network.name)
@pytest.mark.parametrize("latent_frames", [1, 2, 4])
@pytest.mark.parametrize("past", [True, False], ids=["looks back", "of a picture"])
def test_chunk_by_chunk_equals_one_pass(
    vae: AutoencoderKLWan, network: Network, latent_frames: int, past: bool
) -> None:
    exportable = as_exportable(network, vae if past else without_past(vae))
    inputs = exportable.inputs(Shape(2, latent_frames, 2, 3)).values()
    assert exportable.loop is not None
    opening, step, closing = (
        exportable.loop.opening,
        exportable.loop.step,
        exportable.loop.closing,
    )
    with torch.inference_mode():
        first, frames, *states = opening(*inputs)
        outputs = [first]
        for chunk in frames.split(exportable.loop.chunk, dim=1)[: latent_frames - 1]:
            shapes = [state.shape for state in states]
            output, *states = step(chunk, *states)
            outputs.append(output)
            # What is handed on does not grow with the video.
            assert [state.shape for state in states] == shapes
        chunked = float_output(closing(torch.cat(outputs, dim=1)))
        assert_close(chunked.numpy(), float_output(exportable.module(*inputs)).numpy(), TOLERANCE)


@pytest.mark.slow
def test_the_graph_in_chunks_equals_one_pass_for_every_length(
    exported: tuple[Exportable, Path], subtests: pytest.Subtests
) -> None:
    exportable, file = exported
    names = [tensor.name for tensor in exportable.network.outputs]
    for latent_frames in (1, 2, 6):
        with subtests.test(latent_frames=latent_frames), torch.inference_mode():
            torch.manual_seed(latent_frames)
            inputs = exportable.inputs(Shape(2, latent_frames, 4, 3))
            actual = run_onnx(file, {name: x.numpy() for name, x in inputs.items()}, names)
            expected = float_output(exportable.module(*inputs.values()))
            assert_close(actual[names[-1]], expected.numpy(), TOLERANCE)


@pytest.mark.slow
def test_the_graph_in_chunks_holds_every_weight_once(exported: tuple[Exportable, Path]) -> None:
    exportable, file = exported
    graph = onnx.load(file).graph
    stored = [weight for weight in graph.initializer if math.prod(weight.dims) > LARGE]
    large = [tensor for tensor in exportable.module.parameters() if tensor.numel() > LARGE]
    assert len(large) > 0
    assert sum(math.prod(weight.dims) for weight in stored) == sum(map(torch.numel, large))
    (loop,) = (node for node in graph.node if node.op_type == "Loop")
    (body,) = loop.attribute
    assert not body.g.initializer


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(1, 1, 0), (3, 1, 1), ((3, 1, 1), 1, (1, 0, 0)), ((3, 1, 1), (2, 1, 1), (1, 0, 0))],
)
def test_the_sum_over_taps_equals_the_3d_convolution(kernel, stride, padding) -> None:
    torch.manual_seed(0)
    plain = WanCausalConv3d(5, 7, kernel, stride=stride, padding=padding)
    x = torch.randn(2, 5, 9, 6, 4)
    with torch.inference_mode():
        summed = CausalConv(plain)(x.transpose(1, 2)).transpose(1, 2)
        assert_close(summed.numpy(), plain(x).numpy(), TOLERANCE)


def test_the_norm_equals_the_plain_one_and_leaves_zeros_alone() -> None:
    torch.manual_seed(0)
    plain = WanRMS_norm(5, images=False)
    torch.nn.init.normal_(plain.gamma)
    x = torch.randn(2, 5, 3, 4, 4)
    x[:, :, 1] = 0
    with torch.inference_mode():
        fast = RmsNorm(plain)(x.transpose(1, 2)).transpose(1, 2)
        assert_close(fast.numpy(), plain(x).numpy(), TOLERANCE)


def test_wrapping_leaves_the_vae_as_it_was(fixture: ReferenceFixture) -> None:
    vae = load_vae(weights(fixture), fixture.config["model"])
    before = set(vae.state_dict())
    VaeEncoder(vae)
    VaeDecoder(vae)
    assert set(vae.state_dict()) == before


def test_16_bit_weights_still_take_and_give_float32(vae: AutoencoderKLWan) -> None:
    latents = torch.zeros(1, vae.config["z_dim"], 1, 2, 2)
    with torch.inference_mode():
        _frames, video = VaeDecoder(vae).bfloat16()(latents)
        assert video.dtype == torch.float32
        assert VaeEncoder(vae).bfloat16().encode(video).dtype == torch.float32


def test_a_renamed_key_is_caught_by_name(fixture: ReferenceFixture) -> None:
    renamed = weights(fixture)
    renamed["decoder.conv.weight"] = renamed.pop("decoder.conv1.weight")
    with pytest.raises(CheckpointMismatchError, match=r"decoder\.conv\.weight"):
        load_vae(renamed, fixture.config["model"])


def test_tensors_go_back_to_the_checkpoints_names(fixture: ReferenceFixture) -> None:
    public = weights(fixture)
    restored = public_tensors(load_vae(public, fixture.config["model"]))
    assert restored.keys() == public.keys()
    assert all(torch.equal(restored[key], public[key]) for key in public)
