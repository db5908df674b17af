"""Wav2Vec2 as flash uses it, against the authors' program, from the 16 kHz waveform on."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyloudnorm
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from export.checkpoint.errors import CheckpointMismatchError
from export.models.audio_encoder import (
    AudioEncoder,
    PreviewAudioEncoder,
    load_audio_encoder,
    public_tensors,
)
from export.models.denoiser.audio_flash import neighbours
from server.audio.frame_rate import conv_frames, heard_frames, interpolation
from server.triton.contract import latent_frames
from tests.support.reference import Arrays, ReferenceFixture, assert_close, reference_fixture

TOLERANCE = 2e-4
LAST_STATE_TOLERANCE = 1e-4
SAMPLE_RATE = 16_000
VARIANTS = ("group", "layer")


@pytest.fixture(scope="module")
def flash() -> ReferenceFixture:
    return reference_fixture("audio_flash")


def weights(fixture: ReferenceFixture, name: str = "weights.safetensors") -> dict[str, Tensor]:
    return {key: torch.from_numpy(array) for key, array in fixture.weights(name).items()}


def config(flash: ReferenceFixture, variant: str) -> dict[str, Any]:
    return flash.config["variants"][variant]["wav2vec2_config"]


def load(flash: ReferenceFixture, variant: str) -> Wav2Vec2Model:
    tensors = weights(flash, flash.config["variants"][variant]["weights"])
    return load_audio_encoder(tensors, config(flash, variant))


def loudness_normalised(wave: NDArray[Any], target_lufs: float) -> NDArray[Any]:
    loudness = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(wave)
    if abs(loudness) > 100:
        return wave
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Possible clipped samples")
        return pyloudnorm.normalize.loudness(wave, loudness, target_lufs)


def standardised(wave: NDArray[Any]) -> NDArray[np.float32]:
    return ((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)).astype(np.float32)


def rows(samples: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    low, high, weight = interpolation(conv_frames(samples), frames)
    return torch.from_numpy(low)[None], torch.from_numpy(high)[None], torch.from_numpy(weight)[None]


def encode_flash(encoder: AudioEncoder, waveform: NDArray[np.float32], frames: int) -> Arrays:
    """Returns every stage of one clip under the names of the reference."""
    seen: dict[str, Tensor] = {}

    def extracted(_module: Any, _inputs: Any, output: Tensor) -> None:
        seen["conv_features"] = output.transpose(1, 2)

    def projected(_module: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        seen["interpolated"], seen["projected"] = inputs[0], output[0]

    encoder.wav2vec2.feature_extractor.register_forward_hook(extracted)
    encoder.wav2vec2.feature_projection.register_forward_hook(projected)
    with torch.inference_mode():
        features = encoder(torch.from_numpy(waveform)[None], *rows(len(waveform), frames))
    arrays = {name: tensor.numpy() for name, tensor in seen.items()}
    arrays["features"] = features[0].numpy()
    heard = features[:, heard_frames(0, frames, frames)]
    arrays["windows"] = neighbours(heard, latent_frames(frames)).numpy()
    return arrays


def test_every_stage_equals_the_reference(
    flash: ReferenceFixture, subtests: pytest.Subtests
) -> None:
    clips = {case["name"]: case for case in flash.config["cases"]}
    for recorded, facts in flash.config["recorded"].items():
        variant, _, clip = recorded.partition(".")
        loud = loudness_normalised(flash.inputs[f"{clip}.wave16k"], flash.config["lufs"])
        waveform = standardised(loud[: facts["trimmed_samples"]])
        encoder = AudioEncoder(load(flash, variant))
        seen = {f"{clip}.loudnorm_full": loud, f"{clip}.input_values": waveform} | {
            f"{recorded}.{stage}": array
            for stage, array in encode_flash(encoder, waveform, clips[clip]["frames"]).items()
        }
        stages = seen.keys() & flash.outputs.keys()
        assert len(stages) >= 6
        for key in sorted(stages):
            with subtests.test(msg=key):
                assert_close(seen[key], flash.outputs[key], TOLERANCE)


@pytest.mark.parametrize("frames", [1, 2, 5, 25, 53, 250])
@pytest.mark.parametrize("length", [1, 2, 3, 49, 105, 399])
def test_the_gathered_rows_equal_torchs_interpolation(length: int, frames: int) -> None:
    torch.manual_seed(length)
    features = torch.randn(1, 4, length)
    expected = torch.nn.functional.interpolate(
        features, size=frames, mode="linear", align_corners=True
    )
    vectors = features[0].numpy()
    low, high, weight = interpolation(length, frames)
    gathered = vectors[:, low] + weight * (vectors[:, high] - vectors[:, low])
    assert_close(gathered, expected[0].numpy(), TOLERANCE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_clips_of_a_batch_do_not_touch_each_other(flash: ReferenceFixture, variant: str) -> None:
    encoder = AudioEncoder(load(flash, variant))
    torch.manual_seed(0)
    waveform = torch.randn(2, 6400)
    one, two = rows(6400, 10), rows(6400, 10)
    # The second clip is sampled elsewhere, as the rows belong to each clip of a batch.
    two = (two[0].flip(1), two[1].flip(1), two[2].flip(1))
    together = [torch.cat(pair) for pair in zip(one, two, strict=True)]
    with torch.inference_mode():
        both = encoder(waveform, *together).numpy()
        for clip, alone in enumerate((one, two)):
            expected = encoder(waveform[clip : clip + 1], *alone).numpy()
            assert_close(both[clip : clip + 1], expected, TOLERANCE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_last_state_is_that_of_transformers_own_loop(
    flash: ReferenceFixture, variant: str
) -> None:
    torch.manual_seed(0)
    model = Wav2Vec2Model(Wav2Vec2Config(**config(flash, variant))).eval()
    loaded = load_audio_encoder(public_tensors(model), config(flash, variant))
    waveform = torch.randn(2, 6400)
    with torch.inference_mode():
        expected = model(waveform).last_hidden_state.numpy()
        assert_close(PreviewAudioEncoder(loaded)(waveform).numpy(), expected, LAST_STATE_TOLERANCE)


def renamed(tensors: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    changed = {key.replace(old, new): tensor for key, tensor in tensors.items()}
    assert changed.keys() != tensors.keys()
    return changed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("conv.weight_g", "conv.parametrizations.weight.original0"),
        ("conv.weight_v", "conv.parametrizations.weight.original1"),
        ("wav2vec2.", ""),
    ],
)
def test_other_public_names_load_the_same(flash: ReferenceFixture, old: str, new: str) -> None:
    tensors = weights(flash)
    expected = load_audio_encoder(tensors, config(flash, "group")).state_dict()
    actual = load_audio_encoder(renamed(tensors, old, new), config(flash, "group")).state_dict()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[key], expected[key]) for key in expected)


def test_the_mask_vector_of_training_is_ignored(flash: ReferenceFixture) -> None:
    tensors = weights(flash) | {"wav2vec2.masked_spec_embed": torch.zeros(1)}
    load_audio_encoder(tensors, config(flash, "group") | {"mask_time_prob": 0.05})


def test_a_renamed_key_is_caught_by_name(flash: ReferenceFixture) -> None:
    tensors = renamed(weights(flash), "feature_projection.projection", "feature_projection.linear")
    with pytest.raises(CheckpointMismatchError, match=r"feature_projection\.linear\.weight"):
        load_audio_encoder(tensors, config(flash, "group"))


def test_a_tensor_of_another_shape_is_caught_by_name(flash: ReferenceFixture) -> None:
    tensors = weights(flash)
    tensors["wav2vec2.encoder.layer_norm.weight"] = torch.ones(3)
    with pytest.raises(CheckpointMismatchError, match=r"encoder\.layer_norm\.weight"):
        load_audio_encoder(tensors, config(flash, "group"))
