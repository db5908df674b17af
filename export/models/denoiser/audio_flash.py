"""Audio of the flash variant: windows of features around each latent frame, as tokens.

Compatible with ``get_ai2v_audio`` and ``AudioProjModel`` of ``wan_transformer3d_audio_2512.py``.
"""

import torch
from torch import Tensor, nn

from export.models.denoiser.config import DenoiserConfig
from export.models.layers import LayerNorm, Linear
from server.triton.contract import AUDIO_LAYERS, AUDIO_WINDOW, FRAMES_PER_LATENT

CENTRE = AUDIO_WINDOW // 2
LATER_WINDOW = AUDIO_WINDOW + FRAMES_PER_LATENT - 1
"""Neighbouring video frames that a latent frame's audio spans, the first latent frame aside."""


class AudioInjection(nn.Module):
    """Projects the audio around each latent frame to tokens."""

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        features, hidden = AUDIO_LAYERS * config.audio_dim, config.audio_hidden_dim
        self.shape = (config.audio_tokens, config.dim)
        self.proj1 = Linear(AUDIO_WINDOW * features, hidden)
        self.proj1_vf = Linear(LATER_WINDOW * features, hidden)
        self.proj2 = Linear(hidden, hidden)
        self.proj3 = Linear(hidden, config.audio_tokens * config.dim)
        self.norm = LayerNorm(config.dim)

    def forward(self, audio: Tensor, latent_frames: int) -> Tensor:
        """Maps audio features to tokens.

        Args:
            audio: [batch, frames, AUDIO_WINDOW, AUDIO_LAYERS, audio_dim].
            latent_frames: T, with frames = 4 (T - 1) + 1.

        Returns:
            [batch, latent_frames, audio_tokens, dim] in float32.
        """
        first = self.proj1(audio[:, :1].flatten(2))
        later = self.proj1_vf(later_windows(audio, latent_frames).flatten(2))
        hidden = torch.relu(torch.cat((first, later), dim=1))
        tokens = self.proj3(torch.relu(self.proj2(hidden)))
        return self.norm(tokens.unflatten(-1, self.shape))


def neighbours(audio: Tensor, frames: int) -> Tensor:
    """Returns each frame's features with those of its neighbours.

    Args:
        audio: [batch, F + 4, AUDIO_LAYERS, audio_dim], two frames more on either side.
        frames: latent frames T, with F = 4 (T - 1) + 1.

    Returns:
        [batch, F, AUDIO_WINDOW, AUDIO_LAYERS, audio_dim].
    """
    length = FRAMES_PER_LATENT * (frames - 1) + 1
    return torch.stack([audio[:, first : first + length] for first in range(AUDIO_WINDOW)], dim=2)


def later_windows(audio: Tensor, latent_frames: int) -> Tensor:
    """Joins the windows of the four video frames of each latent frame but the first.

    The first of the four gives its window up to its centre, the two in the middle their centres,
    the last its window from the centre on: eight neighbouring frames.

    Returns:
        [batch, latent_frames - 1, LATER_WINDOW, AUDIO_LAYERS, audio_dim].
    """
    # The length is spelled out: -1 is ambiguous where there is one latent frame, and the exporter
    # learns from it how frames and latent frames depend on each other.
    groups = audio[:, 1:].unflatten(1, (latent_frames - 1, FRAMES_PER_LATENT))
    parts = (
        groups[:, :, 0, : CENTRE + 1],
        groups[:, :, 1:-1, CENTRE],
        groups[:, :, -1, CENTRE:],
    )
    return torch.cat(parts, dim=2)
