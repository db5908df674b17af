"""The networks of a checkpoint: each the module that is exported and inputs to try it with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn
from transformers import Wav2Vec2Model

from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.models.audio_encoder import AudioEncoder, PreviewAudioEncoder, load_audio_encoder
from export.models.denoiser.config import DenoiserConfig, Riflex
from export.models.denoiser.model import Denoiser, load_denoiser
from export.models.denoiser.teacache import CachedDenoiser, TimeModulation
from export.models.image_encoder import ImageEncoder, load_image_encoder
from export.models.text_encoder import PUBLIC_SIZES, TextEncoder, load_text_encoder
from export.models.vae.chunks import in_chunks
from export.models.vae.coder import VaeDecoder, VaeEncoder, load_vae
from export.onnx.loop import Loop
from export.precision.fp8 import UNSEEN
from export.precision.policy import (
    AS_ASKED,
    DTYPES,
    IN_32_BITS,
    Precision,
    narrow_matrices,
    precision_of,
)
from server.audio.clock import MODEL_SAMPLES_PER_FRAME
from server.audio.frame_rate import conv_frames, interpolation
from server.audio.token_windows import window_index
from server.triton import contract
from server.triton.contract import FRAMES_PER_LATENT, LATENT_CHANNELS, PIXELS_PER_LATENT, Network

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
    """A network as a module, and fresh random inputs of a shape for it, in the module's order.

    With a ``loop`` its parts are exported in the module's place, which they equal.
    """

    network: Network
    module: nn.Module
    inputs: Callable[[Shape], Inputs]
    loop: Loop | None = None


def audio_encoder(checkpoint: Checkpoint) -> Exportable:
    """Wav2Vec2, as flash uses it."""

    def inputs(shape: Shape) -> Inputs:
        samples = shape.video_frames * MODEL_SAMPLES_PER_FRAME
        rows = interpolation(conv_frames(samples), shape.video_frames)
        names = ("low", "high", "weight")
        return {"waveform": torch.randn(shape.batch, samples)} | {
            name: torch.from_numpy(row).expand(shape.batch, -1).contiguous()
            for name, row in zip(names, rows, strict=True)
        }

    return Exportable(contract.AUDIO_ENCODER, AudioEncoder(_wav2vec2(checkpoint)), inputs)


def preview_audio_encoder(checkpoint: Checkpoint) -> Exportable:
    """Wav2Vec2, as preview uses it."""

    def inputs(shape: Shape) -> Inputs:
        samples = shape.video_frames * MODEL_SAMPLES_PER_FRAME
        return {"waveform": torch.randn(shape.batch, samples)}

    module = PreviewAudioEncoder(_wav2vec2(checkpoint))
    return Exportable(contract.PREVIEW_AUDIO_ENCODER, module, inputs)


def image_encoder(checkpoint: Checkpoint, precision: Precision = "fp32") -> Exportable:
    """CLIP."""
    sizes = checkpoint.sizes("image_encoder_kwargs")

    def inputs(shape: Shape) -> Inputs:
        sides = (shape.height * PIXELS_PER_LATENT, shape.width * PIXELS_PER_LATENT)
        return {"image": torch.randint(256, (shape.batch, *sides, 3), dtype=torch.uint8)}

    with checkpoint.fitting(layout.IMAGE_ENCODER) as weights:
        vision = load_image_encoder(_float32(weights), sizes)
    narrow_matrices(vision, precision)
    module = ImageEncoder(vision)
    return Exportable(contract.IMAGE_ENCODER, module, inputs)


def text_encoder(checkpoint: Checkpoint, precision: Precision = "fp32") -> Exportable:
    """umT5."""
    sizes = {**PUBLIC_SIZES, **checkpoint.sizes("text_encoder_kwargs")}

    def inputs(shape: Shape) -> Inputs:
        tokens = (shape.batch, contract.TEXT_TOKENS)
        lengths = torch.randint(1, contract.TEXT_TOKENS + 1, (shape.batch, 1))
        return {
            "token_ids": torch.randint(sizes["vocab"], tokens),
            "mask": (torch.arange(contract.TEXT_TOKENS) < lengths).long(),
        }

    with checkpoint.fitting(layout.TEXT_ENCODER) as weights:
        umt5 = load_text_encoder(_narrow(weights, precision), sizes)
    narrow_matrices(umt5, precision)
    module = TextEncoder(umt5)
    return Exportable(contract.TEXT_ENCODER, module, inputs)


def vae_encoder(checkpoint: Checkpoint, precision: Precision = "fp32") -> Exportable:
    """The encoder of the Wan VAE."""

    def inputs(shape: Shape) -> Inputs:
        sides = (shape.height * PIXELS_PER_LATENT, shape.width * PIXELS_PER_LATENT)
        return {"video": torch.rand(shape.batch, 3, shape.video_frames, *sides) * 2 - 1}

    module = VaeEncoder(_vae(checkpoint, precision))
    return Exportable(contract.VAE_ENCODER, module, inputs, in_chunks(module))


def denoiser(
    checkpoint: Checkpoint,
    precision: Precision = "fp32",
    riflex: Riflex | None = None,
    largest_inputs: Mapping[str, float] = UNSEEN,
) -> Exportable:
    """The EchoMimic transformer of flash."""
    module = _denoiser(checkpoint, precision, riflex, largest_inputs)
    config = module.config

    def inputs(shape: Shape) -> Inputs:
        audio = (shape.video_frames, contract.AUDIO_WINDOW, contract.AUDIO_LAYERS)
        return {
            **_noisy(shape),
            **_context(shape, config),
            "audio": torch.randn(shape.batch, *audio, config.audio_dim),
        }

    return Exportable(contract.DENOISER, module, inputs)


def preview_denoiser(
    checkpoint: Checkpoint,
    precision: Precision = "fp32",
    riflex: Riflex | None = None,
    largest_inputs: Mapping[str, float] = UNSEEN,
) -> Exportable:
    """The EchoMimic transformer of preview."""
    module = _denoiser(checkpoint, precision, riflex, largest_inputs)
    config = module.config

    def inputs(shape: Shape) -> Inputs:
        # A few more tokens than the frames need: their number is a length of its own.
        tokens = shape.video_frames * contract.AUDIO_TOKENS_PER_FRAME + 1
        index = torch.from_numpy(window_index(tokens))
        mask = (shape.batch, shape.height // contract.PATCH, shape.width // contract.PATCH)
        return {
            **_noisy(shape),
            **_context(shape, config),
            "audio": torch.randn(shape.batch, tokens, config.audio_dim),
            "audio_index": index.expand(shape.batch, -1, -1).contiguous(),
            "face_mask": torch.randint(2, mask).float(),
            "audio_scale": torch.rand(shape.batch, 1) + 0.5,
        }

    return Exportable(contract.PREVIEW_DENOISER, module, inputs)


def time_modulation(checkpoint: Checkpoint) -> Exportable:
    """The time embedding of the transformer."""
    return Exportable(
        contract.TIME_MODULATION,
        TimeModulation(_denoiser(checkpoint)),
        lambda shape: {"timestep": torch.rand(shape.batch, 1) * 1000},
    )


def denoiser_cached(checkpoint: Checkpoint) -> Exportable:
    """The transformer without its blocks."""
    module = CachedDenoiser(_denoiser(checkpoint))
    width = module.denoiser.config.dim

    def inputs(shape: Shape) -> Inputs:
        tokens = shape.frames * shape.height * shape.width // contract.PATCH**2
        return {**_noisy(shape), "residual": torch.randn(shape.batch, tokens, width)}

    return Exportable(contract.DENOISER_CACHED, module, inputs)


def vae_decoder(checkpoint: Checkpoint, precision: Precision = "fp32") -> Exportable:
    """The decoder of the Wan VAE."""
    module = VaeDecoder(_vae(checkpoint, precision))
    return Exportable(
        contract.VAE_DECODER,
        module,
        lambda shape: {"latents": torch.randn(shape.latents)},
        in_chunks(module),
    )


Build = Callable[..., Exportable]
"""Builds one network of a checkpoint, its large weights in the precision that was asked for.

In fp8 the denoiser takes ``largest_inputs``, too.
"""


def networks(
    checkpoint: Checkpoint,
    precision: Precision = "fp32",
    riflex: Riflex | None = None,
    others: Mapping[str, Precision] = AS_ASKED,
) -> dict[str, Build]:
    """Returns what builds each network of a checkpoint, so that one at a time is in memory.

    Args:
        checkpoint: tells its variant.
        precision: of the large weights; some networks stay in 32 bits all the same.
        riflex: a change of the denoiser's temporal frequencies, for clips of a known length.
        others: precisions of networks for which it is to be another one.

    Raises:
        CheckpointError: the variant cannot be told.
    """
    preview = checkpoint.variant == "preview"
    whole = partial(preview_denoiser if preview else denoiser, riflex=riflex)
    builds: dict[str, Build] = {
        "audio_encoder": preview_audio_encoder if preview else audio_encoder,
        "image_encoder": image_encoder,
        "text_encoder": text_encoder,
        "vae_encoder": vae_encoder,
        "time_modulation": time_modulation,
        "denoiser": whole,
        "denoiser_cached": denoiser_cached,
        "vae_decoder": vae_decoder,
    }
    return {
        name: build
        if name in IN_32_BITS
        else partial(build, precision=precision_of(name, precision, others))
        for name, build in builds.items()
    }


def _denoiser(
    checkpoint: Checkpoint,
    precision: Precision = "fp32",
    riflex: Riflex | None = None,
    largest_inputs: Mapping[str, float] = UNSEEN,
) -> Denoiser:
    sizes = checkpoint.json(layout.DENOISER_CONFIG)
    with checkpoint.fitting(layout.DENOISER) as weights:
        shapes = {key: tuple(tensor.shape) for key, tensor in weights.items()}
        config = DenoiserConfig.from_checkpoint(sizes, shapes, riflex)
        return load_denoiser(config, weights, precision, largest_inputs)


def _noisy(shape: Shape) -> Inputs:
    channels = contract.MASK_CHANNELS + LATENT_CHANNELS
    return {
        "latents": torch.randn(shape.latents),
        "condition": torch.randn(shape.batch, channels, *shape.latents[2:]),
        "timestep": torch.rand(shape.batch, 1) * 1000,
    }


def _context(shape: Shape, config: DenoiserConfig) -> Inputs:
    return {
        "text": torch.randn(shape.batch, contract.TEXT_TOKENS, config.text_dim),
        "image_tokens": torch.randn(shape.batch, contract.IMAGE_TOKENS, config.image_dim),
    }


def _wav2vec2(checkpoint: Checkpoint) -> Wav2Vec2Model:
    config = checkpoint.json(checkpoint.audio_encoder / "config.json")
    with checkpoint.fitting(checkpoint.audio_encoder_weights) as weights:
        return load_audio_encoder(_float32(weights), config)


def _vae(checkpoint: Checkpoint, precision: Precision) -> AutoencoderKLWan:
    with checkpoint.fitting(layout.VAE) as weights:
        narrow = {key: tensor.to(DTYPES[precision]) for key, tensor in weights.items()}
        return load_vae(narrow, checkpoint.sizes("vae_kwargs"))


def _narrow(weights: Mapping[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """Converts matrices one by one: umT5 as a whole takes 23 GB in float32.

    What becomes int8 is left as it is until then.
    """
    if precision == "int8":
        return {
            key: tensor if tensor.ndim > 1 else tensor.float() for key, tensor in weights.items()
        }
    return {
        key: tensor.to(DTYPES[precision] if tensor.ndim > 1 else torch.float32)
        for key, tensor in weights.items()
    }


def _float32(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.float() for key, tensor in weights.items()}
