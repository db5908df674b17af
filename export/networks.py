"""The six networks of a checkpoint: each the module that is exported and inputs to try it with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export import checkpoint as layout
from export.audio_encoder import AudioEncoder, load_audio_encoder
from export.checkpoint import Checkpoint
from export.denoiser import load_denoiser
from export.denoiser_config import DenoiserConfig
from export.image_encoder import ImageEncoder, load_image_encoder
from export.text_encoder import PUBLIC_SIZES, TextEncoder, load_text_encoder
from export.vae import VaeDecoder, VaeEncoder, load_vae
from server import contract
from server.clock import MODEL_SAMPLES_PER_FRAME
from server.contract import FRAMES_PER_LATENT, LATENT_CHANNELS, PIXELS_PER_LATENT, Network
from server.frame_rate import conv_frames, interpolation

Inputs = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Shape:
    """The lengths of one call: a batch, latent frames, latent rows and columns."""

    batch: int
    frames: int
    height: int
    width: int

    @property
    def video_frames(self) -> int:
        """The video frames that the latent frames stand for."""
        return (self.frames - 1) * FRAMES_PER_LATENT + 1

    @property
    def latents(self) -> tuple[int, ...]:
        """The shape of latents."""
        return (self.batch, LATENT_CHANNELS, self.frames, self.height, self.width)


@dataclass(frozen=True, slots=True)
class Exportable:
    """A network as a module, and fresh random inputs of a shape for it, in the module's order."""

    network: Network
    module: nn.Module
    inputs: Callable[[Shape], Inputs]


def audio_encoder(checkpoint: Checkpoint) -> Exportable:
    """Wav2Vec2."""
    config = checkpoint.json(layout.AUDIO_ENCODER / "config.json")
    weights = checkpoint.tensors(checkpoint.audio_encoder_weights())

    def inputs(shape: Shape) -> Inputs:
        samples = shape.video_frames * MODEL_SAMPLES_PER_FRAME
        rows = interpolation(conv_frames(samples), shape.video_frames)
        names = ("low", "high", "weight")
        return {"waveform": torch.randn(shape.batch, samples)} | {
            name: torch.from_numpy(row).expand(shape.batch, -1).contiguous()
            for name, row in zip(names, rows, strict=True)
        }

    module = AudioEncoder(load_audio_encoder(_float32(weights), config))
    return Exportable(contract.AUDIO_ENCODER, module, inputs)


def image_encoder(checkpoint: Checkpoint) -> Exportable:
    """CLIP."""
    weights = checkpoint.tensors(layout.IMAGE_ENCODER)
    sizes = checkpoint.sizes("image_encoder_kwargs")

    def inputs(shape: Shape) -> Inputs:
        sides = (shape.height * PIXELS_PER_LATENT, shape.width * PIXELS_PER_LATENT)
        return {"image": torch.randint(256, (shape.batch, *sides, 3), dtype=torch.uint8)}

    module = ImageEncoder(load_image_encoder(_float32(weights), sizes))
    return Exportable(contract.IMAGE_ENCODER, module, inputs)


def text_encoder(checkpoint: Checkpoint) -> Exportable:
    """umT5."""
    weights = checkpoint.tensors(layout.TEXT_ENCODER)
    sizes = {**PUBLIC_SIZES, **checkpoint.sizes("text_encoder_kwargs")}

    def inputs(shape: Shape) -> Inputs:
        tokens = (shape.batch, contract.TEXT_TOKENS)
        lengths = torch.randint(1, contract.TEXT_TOKENS + 1, (shape.batch, 1))
        return {
            "token_ids": torch.randint(sizes["vocab"], tokens),
            "mask": (torch.arange(contract.TEXT_TOKENS) < lengths).long(),
        }

    module = TextEncoder(load_text_encoder(_float32(weights), sizes))
    return Exportable(contract.TEXT_ENCODER, module, inputs)


def vae_encoder(checkpoint: Checkpoint) -> Exportable:
    """The encoder of the Wan VAE."""

    def inputs(shape: Shape) -> Inputs:
        sides = (shape.height * PIXELS_PER_LATENT, shape.width * PIXELS_PER_LATENT)
        return {"video": torch.rand(shape.batch, 3, shape.video_frames, *sides) * 2 - 1}

    return Exportable(contract.VAE_ENCODER, VaeEncoder(_vae(checkpoint)), inputs)


def denoiser(checkpoint: Checkpoint) -> Exportable:
    """The EchoMimic transformer."""
    weights = checkpoint.tensors(layout.DENOISER)
    shapes = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    config = DenoiserConfig.from_checkpoint(checkpoint.json(layout.DENOISER_CONFIG), shapes)

    def inputs(shape: Shape) -> Inputs:
        audio = (shape.video_frames, contract.AUDIO_WINDOW, contract.AUDIO_LAYERS)
        channels = contract.MASK_CHANNELS + LATENT_CHANNELS
        return {
            "latents": torch.randn(shape.latents),
            "condition": torch.randn(shape.batch, channels, *shape.latents[2:]),
            "timestep": torch.rand(shape.batch, 1) * 1000,
            "text": torch.randn(shape.batch, contract.TEXT_TOKENS, config.text_dim),
            "image_tokens": torch.randn(shape.batch, contract.IMAGE_TOKENS, config.image_dim),
            "audio": torch.randn(shape.batch, *audio, config.audio_dim),
        }

    return Exportable(contract.DENOISER, load_denoiser(config, weights), inputs)


def vae_decoder(checkpoint: Checkpoint) -> Exportable:
    """The decoder of the Wan VAE."""
    return Exportable(
        contract.VAE_DECODER,
        VaeDecoder(_vae(checkpoint)),
        lambda shape: {"latents": torch.randn(shape.latents)},
    )


NETWORKS: Mapping[str, Callable[[Checkpoint], Exportable]] = {
    build.__name__: build
    for build in (
        audio_encoder,
        image_encoder,
        text_encoder,
        vae_encoder,
        denoiser,
        vae_decoder,
    )
}
"""What builds each network, so that one at a time is in memory."""


def _vae(checkpoint: Checkpoint):
    weights = checkpoint.tensors(layout.VAE)
    return load_vae(_float32(weights), checkpoint.sizes("vae_kwargs"))


def _float32(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.float() for key, tensor in weights.items()}
