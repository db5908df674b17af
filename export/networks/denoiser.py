"""The EchoMimic transformer of a checkpoint, and the parts of it that TeaCache needs."""

from collections.abc import Mapping

import torch
from torch import Tensor

from export.checkpoint import layout
from export.checkpoint.errors import CheckpointMismatchError
from export.checkpoint.layout import Checkpoint
from export.models.denoiser.config import DenoiserConfig, Riflex
from export.models.denoiser.model import Denoiser, load_denoiser
from export.models.denoiser.rotary import axis_widths
from export.models.denoiser.teacache import (
    load_cached_denoiser,
    load_time_modulation,
)
from export.networks.exportable import Exportable, Inputs, Shape
from export.onnx.opsets import OLDEST, SINGLE_OPERATORS, Opset
from export.precision.fp8 import UNSEEN
from export.precision.policy import Fp8Scale, Precision
from server.audio.token_windows import window_index
from server.triton import contract


def denoiser(
    checkpoint: Checkpoint,
    precision: Precision = "fp32",
    riflex: Riflex | None = None,
    largest_inputs: Mapping[str, float] = UNSEEN,
    fp8_scale: Fp8Scale = "channel",
    opset: Opset = OLDEST,
) -> Exportable:
    """The EchoMimic transformer of flash."""
    module = _whole(checkpoint, precision, riflex, largest_inputs, fp8_scale, opset)
    config = module.config

    def inputs(shape: Shape) -> Inputs:
        heard = (shape.video_frames + contract.AUDIO_WINDOW - 1, contract.AUDIO_LAYERS)
        return {
            **_noisy(shape),
            "text": torch.randn(shape.batch, _text_tokens(shape), config.text_dim),
            "image_tokens": _image_tokens(shape, config),
            "audio": torch.randn(shape.batch, *heard, config.audio_dim),
            "audio_gain": _audio_gain(shape),
        }

    return Exportable(contract.DENOISER, module, inputs, opset=opset)


def preview_denoiser(
    checkpoint: Checkpoint,
    precision: Precision = "fp32",
    riflex: Riflex | None = None,
    largest_inputs: Mapping[str, float] = UNSEEN,
    fp8_scale: Fp8Scale = "channel",
    opset: Opset = OLDEST,
) -> Exportable:
    """The EchoMimic transformer of preview."""
    module = _whole(checkpoint, precision, riflex, largest_inputs, fp8_scale, opset)
    config = module.config

    def inputs(shape: Shape) -> Inputs:
        # A few more tokens than the frames need: their number is a length of its own.
        tokens = shape.video_frames * contract.AUDIO_TOKENS_PER_FRAME + 1
        index = torch.from_numpy(window_index(tokens))
        mask = (shape.batch, shape.height // contract.PATCH, shape.width // contract.PATCH)
        texts = (shape.batch, _rows(shape), _text_tokens(shape))
        gains = (shape.batch, _rows(shape), _rows(shape))
        return {
            **_noisy(shape),
            "text": torch.randn(*texts, config.text_dim),
            "text_gain": torch.randint(2, gains).float(),
            "image_tokens": _image_tokens(shape, config),
            "audio": torch.randn(shape.batch, tokens, config.audio_dim),
            "audio_gain": _audio_gain(shape),
            "audio_index": index.expand(shape.batch, -1, -1).contiguous(),
            "face_mask": torch.randint(2, mask).float(),
            "audio_scale": torch.rand(shape.batch, 1) + 0.5,
        }

    return Exportable(contract.PREVIEW_DENOISER, module, inputs, opset=opset)


def time_modulation(checkpoint: Checkpoint) -> Exportable:
    """The time embedding of the transformer."""

    def inputs(shape: Shape) -> Inputs:
        return {"timestep": _timestep(shape)}

    with checkpoint.fitting(checkpoint.denoiser) as weights:
        module = load_time_modulation(_config(checkpoint, weights), weights)
    return Exportable(contract.TIME_MODULATION, module, inputs)


def denoiser_cached(checkpoint: Checkpoint) -> Exportable:
    """The transformer without its blocks."""
    with checkpoint.fitting(checkpoint.denoiser) as weights:
        config = _config(checkpoint, weights)
        module = load_cached_denoiser(config, weights)

    def inputs(shape: Shape) -> Inputs:
        tokens = shape.frames * shape.height * shape.width // contract.PATCH**2
        residual = (shape.batch, _rows(shape), tokens, config.dim)
        return {**_noisy(shape), "residual": torch.randn(residual)}

    return Exportable(contract.DENOISER_CACHED, module, inputs)


def denoiser_config(checkpoint: Checkpoint) -> DenoiserConfig:
    """Returns the sizes of the denoiser.

    Raises:
        CheckpointError: its config or weights are missing or contradict each other.
    """
    with checkpoint.fitting(checkpoint.denoiser) as weights:
        return _config(checkpoint, weights)


def _whole(
    checkpoint: Checkpoint,
    precision: Precision,
    riflex: Riflex | None,
    largest_inputs: Mapping[str, float],
    fp8_scale: Fp8Scale,
    opset: Opset,
) -> Denoiser:
    with checkpoint.fitting(checkpoint.denoiser) as weights:
        config = _config(checkpoint, weights, riflex)
        frequencies, _, _ = axis_widths(config.head_dim)
        if riflex is not None and riflex.k > frequencies:
            raise CheckpointMismatchError(f"RIFLEx: there are {frequencies} temporal frequencies")
        denoiser = load_denoiser(config, weights, precision, largest_inputs, fp8_scale)
        denoiser.single_operators = opset >= SINGLE_OPERATORS
        return denoiser


def _config(
    checkpoint: Checkpoint, weights: Mapping[str, Tensor], riflex: Riflex | None = None
) -> DenoiserConfig:
    shapes = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    return DenoiserConfig.from_checkpoint(checkpoint.json(layout.DENOISER_CONFIG), shapes, riflex)


def _noisy(shape: Shape) -> Inputs:
    channels = contract.MASK_CHANNELS + contract.LATENT_CHANNELS
    return {
        "latents": torch.randn(shape.latents),
        "condition": torch.randn(shape.batch, channels, *shape.latents[2:]),
        "timestep": _timestep(shape),
    }


def _timestep(shape: Shape) -> Tensor:
    return torch.rand(shape.batch, 1) * 1000


def _image_tokens(shape: Shape, config: DenoiserConfig) -> Tensor:
    return torch.randn(shape.batch, contract.IMAGE_TOKENS, config.image_dim)


def _audio_gain(shape: Shape) -> Tensor:
    """Returns gains of which the first row hears and the others do not."""
    return (torch.arange(_rows(shape)) == 0).float().expand(shape.batch, -1).contiguous()


def _rows(shape: Shape) -> int:
    """Returns a number of rows that varies with the shape: 1 to 3, and 2 for one stream."""
    return 1 + shape.batch % 3


def _text_tokens(shape: Shape) -> int:
    """Returns a length of prompt that varies with the shape."""
    return 16 * shape.frames + 5
