"""Wav2Vec2: speech to the features that move the mouth.

The two public variants read it differently. Flash interpolates between the convolutions and the
transformer, so that a row is a video frame, and uses every layer; preview keeps Wav2Vec2's own rate
and uses the last layer.
"""

from collections.abc import Mapping
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from torch.nn.utils.parametrize import remove_parametrizations
from transformers import Wav2Vec2Config, Wav2Vec2Model

from export.checkpoint.errors import CheckpointMismatchError
from export.models.loading import load_strictly

PREFIX = "wav2vec2."
IGNORED = (
    "quantizer.",
    "project_q.",
    "project_hid.",
    "lm_head.",
    "masked_spec_embed",
)
"""What checkpoints hold beside the encoder: pre-training's targets, CTC's letters, the mask vector
that only training uses."""
RENAMES = (
    (".conv.weight_g", ".conv.parametrizations.weight.original0"),
    (".conv.weight_v", ".conv.parametrizations.weight.original1"),
)
"""The old names of weight normalisation."""
LOADING = ("attn_implementation", "_attn_implementation", "torch_dtype", "dtype")
"""What a config.json says of how transformers is to load it, and not of what it is."""
INFERENCE = {
    "layerdrop": 0.0,
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "add_adapter": False,
}


def load_audio_encoder(
    state_dict: Mapping[str, Tensor], config: Mapping[str, Any] | None = None
) -> Wav2Vec2Model:
    """Builds Wav2Vec2 around the tensors of a pre-training, CTC or bare checkpoint.

    Args:
        state_dict: the tensors under transformers' names, with or without the ``wav2vec2.`` prefix,
            weight normalisation as ``weight_g``, ``weight_v`` or as parametrizations.
        config: the checkpoint's own config.json; the sizes of wav2vec2-base if absent.

    Raises:
        CheckpointMismatchError: a tensor is missing, unknown or of another shape.
    """
    with torch.device("meta"):
        model = Wav2Vec2Model(_config(config or {}))
    renamed = {_bare_key(key): tensor for key, tensor in state_dict.items()}
    kept = {key: tensor for key, tensor in renamed.items() if not key.startswith(IGNORED)}
    load_strictly(model, kept, _public_key)
    remove_parametrizations(model.encoder.pos_conv_embed.conv, "weight")
    return model.eval().requires_grad_(False)


def _config(config: Mapping[str, Any]) -> Wav2Vec2Config:
    stated = {name: value for name, value in config.items() if name not in LOADING}
    try:
        return Wav2Vec2Config(**{**stated, **INFERENCE})
    except StrictDataclassError as error:
        raise CheckpointMismatchError(f"config.json: {' '.join(str(error).split())}") from error


def public_tensors(model: Wav2Vec2Model) -> dict[str, Tensor]:
    """Returns the tensors of a model, with its weight normalisation, as checkpoints have them."""
    return {_public_key(key): tensor for key, tensor in model.state_dict().items()}


def _public_key(key: str) -> str:
    for old, new in RENAMES:
        key = key.replace(new, old)
    return PREFIX + key


def _bare_key(key: str) -> str:
    for old, new in RENAMES:
        key = key.replace(old, new)
    return key.removeprefix(PREFIX)


class AudioEncoder(nn.Module):
    """Flash: one stack of hidden states per video frame."""

    def __init__(self, wav2vec2: Wav2Vec2Model) -> None:
        super().__init__()
        self.wav2vec2 = wav2vec2

    def forward(self, waveform: Tensor, low: Tensor, high: Tensor, weight: Tensor) -> Tensor:
        """Encodes speech at the rate of the video.

        The interpolation stands between the convolutions and the projection, as in EchoMimic V3's
        ``src/wav2vec2.py``. Its rows come from the caller, so that the graph holds no rate.

        Args:
            waveform: float32 [B, S], 16 kHz, zero mean and unit variance.
            low: int64 [B, F], for each video frame the convolution frame at or before it.
            high: int64 [B, F], the one after.
            weight: float32 [B, F], the share of ``high``, in [0, 1].

        Returns:
            Hidden states of all layers but the first input, float32 [B, F, layers, C].
        """
        conv = _convolve(self.wav2vec2, waveform)
        before, after = _rows(conv, low), _rows(conv, high)
        frames = before + weight.to(conv.dtype).unsqueeze(-1) * (after - before)
        return torch.stack(_hidden_states(self.wav2vec2, frames), dim=2).float()


class PreviewAudioEncoder(nn.Module):
    """Preview: the last hidden state, at Wav2Vec2's own rate of about 50 a second."""

    def __init__(self, wav2vec2: Wav2Vec2Model) -> None:
        super().__init__()
        self.wav2vec2 = wav2vec2

    def forward(self, waveform: Tensor) -> Tensor:
        """Encodes speech.

        Args:
            waveform: float32 [B, S], 16 kHz, zero mean and unit variance.

        Returns:
            The last hidden state, float32 [B, L, C].
        """
        conv = _convolve(self.wav2vec2, waveform)
        return _hidden_states(self.wav2vec2, conv)[-1].float()


def _convolve(wav2vec2: Wav2Vec2Model, waveform: Tensor) -> Tensor:
    return wav2vec2.feature_extractor(waveform.to(wav2vec2.dtype)).transpose(1, 2)


def _rows(features: Tensor, index: Tensor) -> Tensor:
    """Picks rows of [B, L, C] by an index [B, F], giving [B, F, C]."""
    return features.gather(1, index.unsqueeze(-1).expand(-1, -1, features.shape[-1]))


def _hidden_states(wav2vec2: Wav2Vec2Model, features: Tensor) -> list[Tensor]:
    """Runs projection and transformer; transformers' own loop keeps only the last state."""
    encoder = wav2vec2.encoder
    hidden, _normed_features = wav2vec2.feature_projection(features)
    hidden = hidden + encoder.pos_conv_embed(hidden)
    norm_last = wav2vec2.config.do_stable_layer_norm
    if not norm_last:
        hidden = encoder.layer_norm(hidden)
    states = []
    for layer in encoder.layers:
        hidden = layer(hidden)
        states.append(hidden)
    if norm_last:
        states[-1] = encoder.layer_norm(hidden)
    return states
