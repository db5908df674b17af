"""The Wan VAE of a checkpoint, and decoders in the place of its own, or beside it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from export.checkpoint import layout
from export.checkpoint.errors import CheckpointError, CheckpointMismatchError
from export.checkpoint.layout import Checkpoint
from export.checkpoint.weights import WeightFile
from export.models.vae.chunks import in_chunks
from export.models.vae.coder import PUBLIC_SIZES, Coder, Decoder, VaeDecoder, VaeEncoder, load_vae
from export.models.vae.taehv import TaehvDecoder, load_taehv
from export.networks.exportable import Exportable, Inputs, Shape
from export.onnx.loop import Loop
from export.onnx.opsets import OLDEST, Opset
from export.precision.narrowing import DTYPES
from export.precision.policy import Precision
from server.triton import contract

DECODERS = ("lightvaew2_1", "taew2_1", "lighttaew2_1")
"""The Wan VAE at a quarter of its width; TAEHV; TAEHV for latents as the VAE has them."""
LIGHT_VAE_DIM = "decoder.head.2.weight"
"""Whose inputs tell how wide a VAE is."""


@dataclass(frozen=True, slots=True)
class LightDecoder:
    """A published decoder for the same latents, in a file of its own.

    Raises:
        CheckpointError: its kind is not known, or there is no such file.
    """

    kind: str
    file: Path

    def __post_init__(self) -> None:
        if self.kind not in DECODERS:
            raise CheckpointError(f"{self.kind} is no decoder; there are {', '.join(DECODERS)}")
        if not self.file.is_file():
            raise CheckpointError(f"{self.file} is missing")

    def name(self) -> str:
        """Returns its kind, and a digest of its file."""
        return f"{self.kind} {hashlib.sha256(self.file.read_bytes()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class VaeChoice:
    """What is exported of a VAE.

    Attributes:
        light: what takes the place of the checkpoint's own decoder.
        whole: all frames of a window in one pass, with no loop in the graph: what it runs in grows
            with the window then.
        beside: what is exported beside the decoder, for streams that memory is short for.
    """

    light: LightDecoder | None = None
    whole: bool = False
    beside: LightDecoder | None = None

    def decoder(self, network: str) -> LightDecoder | None:
        """Returns the lighter decoder that a network is, if it is one."""
        decoders = {contract.VAE_DECODER.name: self.light, contract.LIGHT_DECODER.name: self.beside}
        return decoders.get(network)

    def loop(self, coder: Coder) -> Loop | None:
        """Returns the parts in which an encoder or decoder is exported, if it is in parts."""
        return None if self.whole else in_chunks(coder)


AS_PUBLISHED = VaeChoice()
"""The checkpoint's own, chunk by chunk."""


def vae_encoder(
    checkpoint: Checkpoint,
    precision: Precision = "fp32",
    how: VaeChoice = AS_PUBLISHED,
    opset: Opset = OLDEST,
) -> Exportable:
    """The encoder of the Wan VAE."""

    def inputs(shape: Shape) -> Inputs:
        # As many as there are latent frames, so that the number varies with the shape.
        known = shape.frames
        pictures = (shape.batch, known, *shape.picture, 3)
        return {
            "known": torch.randint(256, pictures, dtype=torch.uint8),
            "grey": torch.zeros(shape.batch, shape.video_frames - known),
        }

    module = VaeEncoder(wan_vae(checkpoint, precision))
    return Exportable(contract.VAE_ENCODER, module, inputs, how.loop(module), opset)


def vae_decoder(
    checkpoint: Checkpoint,
    precision: Precision = "fp32",
    how: VaeChoice = AS_PUBLISHED,
    opset: Opset = OLDEST,
) -> Exportable:
    """The decoder of the Wan VAE, or a lighter one."""
    if how.light is None:
        module = VaeDecoder(wan_vae(checkpoint, precision))
    else:
        module = light_decoder(how.light, precision, checkpoint.device)
    return Exportable(contract.VAE_DECODER, module, _latents, how.loop(module), opset)


def vae_decoder_light(
    checkpoint: Checkpoint,
    precision: Precision = "fp32",
    how: VaeChoice = AS_PUBLISHED,
    opset: Opset = OLDEST,
) -> Exportable:
    """The lighter decoder beside the usual one.

    Raises:
        CheckpointError: none is chosen.
    """
    if how.beside is None:
        raise CheckpointError("no lighter decoder is chosen")
    module = light_decoder(how.beside, precision, checkpoint.device)
    return Exportable(contract.LIGHT_DECODER, module, _latents, how.loop(module), opset)


def _latents(shape: Shape) -> Inputs:
    return {"latents": torch.randn(shape.latents)}


def light_decoder(
    light: LightDecoder, precision: Precision = "fp32", device: str = "cpu"
) -> Decoder:
    """Loads a lighter decoder.

    Raises:
        CheckpointError: its file is damaged.
        CheckpointMismatchError: it holds another network.
    """
    weights = WeightFile(light.file, f"fetch {light.kind} again").tensors()
    narrow = {key: tensor.to(device, DTYPES[precision]) for key, tensor in weights.items()}
    try:
        if light.kind == "lightvaew2_1":
            if LIGHT_VAE_DIM not in narrow:
                raise CheckpointMismatchError(f"1 missing: {LIGHT_VAE_DIM}")
            return VaeDecoder(load_vae(narrow, {"dim": narrow[LIGHT_VAE_DIM].shape[1]}))
        return TaehvDecoder(load_taehv(narrow), raw_latents=light.kind == "lighttaew2_1")
    except CheckpointMismatchError as error:
        raise CheckpointMismatchError(f"{light.file} is no {light.kind}: {error}") from error


def wan_vae(checkpoint: Checkpoint, precision: Precision = "fp32") -> AutoencoderKLWan:
    """Both halves of the VAE, as their library has them."""
    with checkpoint.fitting(layout.VAE) as weights:
        narrow = {key: tensor.to(DTYPES[precision]) for key, tensor in weights.items()}
        return load_vae(narrow, checkpoint.sizes("vae_kwargs", PUBLIC_SIZES))
