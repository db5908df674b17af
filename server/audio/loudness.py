"""The loudness of a whole clip, ITU-R BS.1770, normalised as the authors' flash program does it."""

# The library has no annotations.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import warnings

from server.audio.clock import MODEL_RATE_HZ
from server.audio.pcm import Samples

TARGET_LUFS = -23.0
BLOCK_S = 0.4
"""Shorter clips have no loudness; the authors' program refuses them, here they stay as they are."""
IMMEASURABLE_LUFS = 100.0


def normalize_loudness(samples: Samples) -> Samples:
    """Returns 16 kHz speech at -23 LUFS; silence stays as it is."""
    # An extra of the gateway, for exact clips alone.
    import pyloudnorm

    if len(samples) < BLOCK_S * MODEL_RATE_HZ:
        return samples
    loudness = pyloudnorm.Meter(MODEL_RATE_HZ).integrated_loudness(samples)
    if abs(loudness) > IMMEASURABLE_LUFS:
        return samples
    with warnings.catch_warnings():
        # Samples above 1 are no matter: they are divided by their deviation next.
        warnings.filterwarnings("ignore", "Possible clipped samples")
        return pyloudnorm.normalize.loudness(samples, loudness, TARGET_LUFS)
