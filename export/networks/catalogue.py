"""Which networks a checkpoint has, and in which precision each is built."""

from collections.abc import Mapping
from functools import partial

from export.checkpoint.layout import Checkpoint
from export.models.denoiser.config import Riflex
from export.networks.audio_encoder import audio_encoder, preview_audio_encoder
from export.networks.denoiser import denoiser, denoiser_cached, preview_denoiser, time_modulation
from export.networks.exportable import Build
from export.networks.image_encoder import image_encoder
from export.networks.text_encoder import text_encoder
from export.networks.vae import (
    AS_PUBLISHED,
    VaeChoice,
    vae_decoder,
    vae_decoder_light,
    vae_encoder,
)
from export.onnx.opsets import NEWEST, Opset, opset_of
from export.precision.policy import AS_ASKED, IN_32_BITS, Precision, precision_of
from server.triton.contract import Variant

FLASH: Mapping[str, Build] = {
    "audio_encoder": audio_encoder,
    "image_encoder": image_encoder,
    "text_encoder": text_encoder,
    "vae_encoder": vae_encoder,
    "time_modulation": time_modulation,
    "denoiser": denoiser,
    "denoiser_cached": denoiser_cached,
    "vae_decoder": vae_decoder,
}
BUILDS: Mapping[Variant, Mapping[str, Build]] = {
    "flash": FLASH,
    "preview": {**FLASH, "audio_encoder": preview_audio_encoder, "denoiser": preview_denoiser},
}
"""What builds the networks of each variant."""
LIGHT: Mapping[str, Build] = {"vae_decoder_light": vae_decoder_light}
"""What is built beside them, where it is asked for."""
VAE = ("vae_encoder", "vae_decoder", *LIGHT)


def networks(
    checkpoint: Checkpoint,
    precision: Precision = "fp32",
    riflex: Riflex | None = None,
    others: Mapping[str, Precision] = AS_ASKED,
    vae: VaeChoice = AS_PUBLISHED,
    newest: Opset = NEWEST,
) -> dict[str, Build]:
    """Returns what builds each network of a checkpoint, so that one at a time is in memory.

    Args:
        checkpoint: tells its variant.
        precision: of the large weights; some networks stay in 32 bits all the same.
        riflex: a change of the denoiser's temporal frequencies, for clips of a known length.
        others: precisions of networks for which it is to be another one.
        vae: what is exported of the VAE.
        newest: the newest opset that may be used.

    Raises:
        CheckpointError: the variant cannot be told.
    """
    builds = dict(BUILDS[checkpoint.variant])
    if vae.beside is not None:
        builds |= LIGHT
    opsets = {
        name: opset_of(name, precision_of(name, precision, others), newest) for name in builds
    }
    builds["denoiser"] = partial(builds["denoiser"], riflex=riflex, opset=opsets["denoiser"])
    for name in builds.keys() & VAE:
        builds[name] = partial(builds[name], how=vae, opset=opsets[name])
    return {
        name: build
        if name in IN_32_BITS
        else partial(build, precision=precision_of(name, precision, others))
        for name, build in builds.items()
    }
