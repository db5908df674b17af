"""How much networks compute, counted from their graphs: shapes alone, no values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from export.models.vae.coder import PUBLIC_SIZES, VaeDecoder, VaeEncoder, build_vae
from export.networks.catalogue import networks
from export.networks.exportable import Inputs, Shape
from export.planning.sizes import file_bytes, weights_bytes
from export.precision.policy import Precision, precision_of
from server.triton.contract import latent_frames
from tests.reports.memory import PUBLIC_CHECKPOINT

LIGHT_VAE = {**PUBLIC_SIZES, "dim": 24}
"""Of lightvaew2_1: the Wan VAE at a quarter of its width."""
AUDIO_CONTEXT_FRAMES = 56
"""Around a window, that its features are computed with: 50 before, 5 after, and up to 4k + 1."""


@dataclass(frozen=True, slots=True)
class Operations:
    """Multiplications and additions of one execution, a pair counted as two.

    Attributes:
        matrices: a tensor by weights.
        attention: a tensor by another.
        convolutions: with weights.
    """

    matrices: int
    attention: int
    convolutions: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.matrices + self.attention + self.convolutions


@dataclass(frozen=True, slots=True)
class Work:
    """One execution of a network: what it computes, and the bytes that it has to move at least.

    Those are its weights, its inputs and its outputs.
    """

    operations: Operations
    bytes: int
    precision: Precision


def count(module: nn.Module, inputs: Iterable[Tensor]) -> tuple[Operations, int]:
    """Returns the operations of a call, and the bytes of its inputs and outputs.

    Args:
        module: is left on the meta device.
        inputs: of any device; their values do not matter.
    """
    outlines = [tensor.to("meta") for tensor in inputs]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        outputs: Any = module.to("meta")(*outlines)
    tensors = [*outlines, *((outputs,) if isinstance(outputs, Tensor) else outputs)]
    by_name = {str(of): number for of, number in counter.get_flop_counts()["Global"].items()}
    found = Operations(
        matrices=by_name.pop("aten.addmm", 0) + by_name.pop("aten.mm", 0),
        attention=by_name.pop("aten.bmm", 0),
        convolutions=by_name.pop("aten.convolution", 0),
    )
    assert not by_name, f"operations of another kind: {', '.join(by_name)}"
    return found, sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@cache
def public_work(
    network: str, size: tuple[int, int], window: int, rows: int, precision: Precision, light: bool
) -> Work:
    """Returns what one execution takes at the public sizes of flash.

    Args:
        network: its name.
        size: width and height in pixels.
        window: video frames.
        rows: of a step of the denoiser: 2 with guidance, 1 without.
        precision: that was asked for; some networks stay in another.
        light: whether the decoder is lightvaew2_1.
    """
    used = precision_of(network, precision)
    width, height = size
    shape = Shape(1, latent_frames(window), height // 8, width // 8)
    if network in ("vae_encoder", "vae_decoder"):
        sizes = LIGHT_VAE if light and network == "vae_decoder" else PUBLIC_SIZES
        module, inputs = _vae(network, shape, sizes)
        weights = weights_bytes(module) // (4 // _bytes_of(used))
    else:
        heard = replace(shape, frames=latent_frames(window + AUDIO_CONTEXT_FRAMES))
        exportable = networks(PUBLIC_CHECKPOINT)[network](replace(PUBLIC_CHECKPOINT, device="meta"))
        asked = exportable.inputs(heard if network == "audio_encoder" else shape)
        module, inputs = exportable.module, _of_rows(asked, rows)
        weights = file_bytes(PUBLIC_CHECKPOINT, network, used)
    operations, carried = count(module, inputs.values())
    return Work(operations, weights + carried, used)


def _vae(network: str, shape: Shape, sizes: Mapping[str, Any]) -> tuple[nn.Module, Inputs]:
    vae = build_vae(sizes)
    if network == "vae_decoder":
        return VaeDecoder(vae), {"latents": torch.empty(shape.latents, device="meta")}
    known = torch.empty(1, 5, *shape.picture, 3, dtype=torch.uint8, device="meta")
    return VaeEncoder(vae), {"known": known, "grey": torch.empty(1, shape.video_frames - 5)}


def _of_rows(inputs: Inputs, rows: int) -> Inputs:
    """Returns inputs of a step with fewer branches, where it is one."""
    fewer = {name: inputs[name][:, :rows] for name in ("audio_gain", "residual") if name in inputs}
    return {**inputs, **fewer}


def _bytes_of(precision: Precision) -> int:
    return 4 if precision == "fp32" else 2
