"""Audio of the preview variant: one token per audio feature, in windows that overlap.

Compatible with ``AudioProjModel`` and ``split_tensor_with_padding`` of
``wan_transformer3d_audio.py`` in EchoMimic V3.
"""

from torch import Tensor, nn

from export.models.denoiser.config import DenoiserConfig
from export.models.layers import LayerNorm, Linear
from server.audio.token_windows import PADDING


class AudioToToken(nn.Module):
    """Projects audio features to tokens."""

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        self.proj = Linear(config.audio_dim, config.dim, bias=False)
        self.norm = LayerNorm(config.dim)

    def forward(self, audio: Tensor) -> Tensor:
        """Maps audio features [batch, tokens, audio_dim] to [batch, tokens, dim] in float32."""
        return self.norm(self.proj(audio))


def gather_windows(tokens: Tensor, index: Tensor) -> Tensor:
    """Gathers the window of each latent frame.

    Padding is zeros after the projection, not before: its norm would make tokens out of them.

    Args:
        tokens: [batch, tokens, dim].
        index: [batch, latent_frames, window] INT64, as ``server.audio.token_windows`` makes it.

    Returns:
        [batch, latent_frames, window, dim].
    """
    flat = index.flatten(1)[..., None].clamp(min=0).expand(-1, -1, tokens.shape[-1])
    windows = tokens.gather(1, flat).unflatten(1, index.shape[1:])
    return windows * (index != PADDING)[..., None]
