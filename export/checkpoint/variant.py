"""Which of the public models a denoiser is."""

from collections.abc import Iterable

from export.checkpoint.errors import CheckpointMismatchError
from server.triton.contract import Variant

AUDIO_PROJECTIONS: dict[Variant, str] = {"flash": "audio_injection", "preview": "audio2token"}
"""The part of the checkpoint that projects audio features, by which a variant is recognised."""


def variant_of(keys: Iterable[str]) -> Variant:
    """Returns the variant that a denoiser's tensors belong to.

    Raises:
        CheckpointMismatchError: they belong to none.
    """
    keys = list(keys)
    for variant, part in AUDIO_PROJECTIONS.items():
        if any(key.startswith(f"{part}.") for key in keys):
            return variant
    parts = " nor ".join(f"{part}.*" for part in AUDIO_PROJECTIONS.values())
    base = any(key.startswith("patch_embedding.") for key in keys)
    instead = "; these are the weights of the base, without EchoMimic's audio part" if base else ""
    raise CheckpointMismatchError(f"the denoiser has neither {parts}{instead}")
