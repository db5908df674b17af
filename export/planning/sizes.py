"""How large the files of an export will be, by the shapes in the checkpoint's headers."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from torch import nn

from export.checkpoint.layout import Checkpoint
from export.networks.catalogue import networks
from export.networks.exportable import Build
from export.networks.vae import AS_PUBLISHED, VaeChoice, light_decoder, wan_vae
from export.precision.fp8 import layers_in_fp8
from export.precision.policy import Precision

NEVER_CALLED = ".q_audio."
"""A layer of flash's checkpoint whose result the authors discard, so no file has it."""
VAE_PARTS: Mapping[str, tuple[str, ...]] = {
    "vae_encoder": ("encoder", "quant_conv"),
    "vae_decoder": ("decoder", "post_quant_conv"),
}


def weights_bytes(module: nn.Module) -> int:
    """Returns what the parameters and tables take that a module's file has."""
    return sum(
        tensor.numel() * tensor.element_size()
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
        if NEVER_CALLED not in name
    )


def builds(checkpoint: Checkpoint, precision: Precision) -> dict[str, Build]:
    """Returns what builds each network; how large scales of fp8 are is of no matter here."""
    found = networks(checkpoint, precision)
    if precision == "fp8":
        layers = layers_in_fp8(networks(checkpoint)["denoiser"](checkpoint).module)
        used = [name for name in layers if NEVER_CALLED not in f"{name}."]
        found["denoiser"] = partial(found["denoiser"], largest_inputs=dict.fromkeys(used, 1.0))
    return found


def file_bytes(
    checkpoint: Checkpoint, network: str, precision: Precision, vae: VaeChoice = AS_PUBLISHED
) -> int:
    """Returns how large a network's file will be in a precision that it is exported in.

    The module is built without values. A file whose weights are stored in halves is smaller.

    Raises:
        CheckpointError: the checkpoint cannot be used.
    """
    outline = replace(checkpoint, device="meta")
    if (light := vae.decoder(network)) is not None:
        return weights_bytes(light_decoder(light, precision))
    if network in VAE_PARTS:
        # The modules that are exported look at values.
        wan = wan_vae(outline, precision)
        return sum(weights_bytes(wan.get_submodule(part)) for part in VAE_PARTS[network])
    return weights_bytes(builds(outline, precision)[network](outline).module)
