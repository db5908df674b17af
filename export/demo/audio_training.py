"""Trains Wav2Vec2: every hidden state is to tell how the mouth moves.

The denoiser reads all twelve, so each gets a small head of its own, dropped afterwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from export.demo.hearing import HeardWindow, heard_windows
from export.demo.mouths import motion
from export.models.audio_encoder import AudioEncoder
from server.audio.pcm import Samples

QUIET_START = 0.05
"""The first convolution begins small against the epsilon of the norm that follows. So that norm
leaves silence silent, where otherwise it would blow its noise up to the level of speech."""
BATCH = 6


@dataclass(frozen=True, slots=True)
class Lesson:
    """A segment as the encoder takes it, and the motion to be told from it, [1, frames, 2]."""

    inputs: tuple[Tensor, Tensor, Tensor, Tensor]
    motion: Tensor


class AudioStudent(nn.Module):
    """The encoder with a head a layer."""

    def __init__(self, wav2vec2: Wav2Vec2Model) -> None:
        super().__init__()
        self.encoder = AudioEncoder(wav2vec2).requires_grad_(True)
        config = wav2vec2.config
        layers, width = config.num_hidden_layers, config.hidden_size
        self.heads = nn.Parameter(torch.randn(layers, width, 2) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(layers, 2))

    def forward(self, waveform: Tensor, low: Tensor, high: Tensor, weight: Tensor) -> Tensor:
        """Returns what each layer tells of the motion, [B, frames, layers, 2]."""
        states = self.encoder(waveform, low, high, weight)
        return torch.einsum("bflc,lco->bflo", states, self.heads) + self.bias


def new_wav2vec2(sizes: Mapping[str, Any], seed: int) -> Wav2Vec2Model:
    """Builds an encoder that has learnt nothing."""
    torch.manual_seed(seed)
    dropouts = ("hidden", "activation", "attention", "feat_proj", "final")
    undropped: dict[str, Any] = {f"{name}_dropout": 0.0 for name in dropouts}
    config = Wav2Vec2Config(**sizes, **undropped, layerdrop=0.0)
    wav2vec2 = Wav2Vec2Model(config).eval()
    with torch.no_grad():
        first: Any = wav2vec2.feature_extractor.conv_layers[0]
        first.conv.weight *= QUIET_START
    return wav2vec2


def lessons(recordings: Sequence[Samples]) -> dict[int, list[Lesson]]:
    """Returns what there is to learn from some recordings, by the length of the segments."""
    by_length: dict[int, list[Lesson]] = {}
    for samples in recordings:
        moved = motion(samples)
        for heard in heard_windows(samples):
            by_length.setdefault(heard.segment.frames, []).append(_lesson(heard, moved))
    return by_length


def _lesson(heard: HeardWindow, moved: Any) -> Lesson:
    openings, widths = heard.values(moved.openings), heard.values(moved.widths)
    target = torch.from_numpy(np.stack([openings, widths], axis=-1))[None]
    return Lesson(heard.inputs(), target)


class AudioLoss:
    """The squared error of every layer's idea of the motion."""

    def __init__(self, student: AudioStudent, by_length: Mapping[int, Sequence[Lesson]]) -> None:
        self._student = student
        self._by_length = by_length
        self._lengths = sorted(by_length)

    def __call__(self, random: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Returns the loss of one batch of equally long segments."""
        pool = self._by_length[self._lengths[step % len(self._lengths)]]
        batch = [pool[index] for index in random.integers(len(pool), size=BATCH)]
        inputs = (torch.cat(rows) for rows in zip(*(each.inputs for each in batch), strict=True))
        true = torch.cat([each.motion for each in batch])
        told = self._student(*inputs)
        errors = (told - true[:, :, None]).square()
        with torch.no_grad():
            facts = {
                f"r_{name}": correlation(told[:, :, -1, index], true[..., index])
                for index, name in enumerate(("opening", "width"))
            }
            facts["r_first"] = correlation(told[:, :, 0, 0], true[..., 0])
        return errors[..., 0].mean() + 0.3 * errors[..., 1].mean(), facts


def correlation(told: Tensor, true: Tensor) -> float:
    """Returns Pearson's correlation over all frames."""
    return torch.corrcoef(torch.stack([told.flatten(), true.flatten()]))[0, 1].item()
