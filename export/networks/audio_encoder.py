"""Wav2Vec2 of a checkpoint."""

import torch
from transformers import Wav2Vec2Model

from export.checkpoint.layout import Checkpoint
from export.models.audio_encoder import AudioEncoder, PreviewAudioEncoder, load_audio_encoder
from export.networks.exportable import Exportable, Inputs, Shape
from export.precision.narrowing import in_float32
from server.audio.clock import MODEL_SAMPLES_PER_FRAME
from server.audio.frame_rate import conv_frames, interpolation
from server.triton import contract


def audio_encoder(checkpoint: Checkpoint) -> Exportable:
    """Wav2Vec2, as flash uses it."""

    def inputs(shape: Shape) -> Inputs:
        waveform = _waveform(shape)
        rows = interpolation(conv_frames(waveform.shape[1]), shape.video_frames)
        names = ("low", "high", "weight")
        return {"waveform": waveform} | {
            name: torch.from_numpy(row).expand(shape.batch, -1).contiguous()
            for name, row in zip(names, rows, strict=True)
        }

    return Exportable(contract.AUDIO_ENCODER, AudioEncoder(_wav2vec2(checkpoint)), inputs)


def preview_audio_encoder(checkpoint: Checkpoint) -> Exportable:
    """Wav2Vec2, as preview uses it."""
    module = PreviewAudioEncoder(_wav2vec2(checkpoint))
    return Exportable(
        contract.PREVIEW_AUDIO_ENCODER, module, lambda shape: {"waveform": _waveform(shape)}
    )


def _waveform(shape: Shape) -> torch.Tensor:
    return torch.randn(shape.batch, shape.video_frames * MODEL_SAMPLES_PER_FRAME)


def _wav2vec2(checkpoint: Checkpoint) -> Wav2Vec2Model:
    config = checkpoint.json(checkpoint.audio_encoder / "config.json")
    with checkpoint.fitting(checkpoint.audio_encoder_weights) as weights:
        return load_audio_encoder(in_float32(weights), config)
