"""The networks as Triton sees them: one table of tensor names, types and shapes.

The ONNX exports take their input and output names from it, the config.pbtxt files are printed from
it, and the gateway checks what it sends and receives against it. A dimension is a number where the
architecture fixes it and a name where it varies: with the request (``frames``, ``height``) or with
the size of the checkpoint (``text_width``). A name means the same length wherever it occurs in one
call of one network. The leading batch dimension is left out.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Variant = Literal["flash", "preview"]
"""The two public models; they differ in how speech reaches the denoiser."""
Dim = int | str
Arrays = Mapping[str, NDArray[np.generic]]
DType = Literal["FP32", "FP16", "INT64", "UINT8"]

NUMPY_DTYPES: dict[DType, type[np.generic]] = {
    "FP32": np.float32,
    "FP16": np.float16,
    "INT64": np.int64,
    "UINT8": np.uint8,
}

LATENT_CHANNELS = 16
MASK_CHANNELS = 4
"""The mask over video frames, folded: each latent frame carries its four video frames."""
FRAMES_PER_LATENT = 4
"""Video frames per latent frame, but for the first, which stands alone: F = 4 (T - 1) + 1."""
PIXELS_PER_LATENT = 8
PATCH = 2
"""The denoiser joins 2 x 2 latents into one token, so video sides are multiples of 16."""
SIDE_MULTIPLE = PIXELS_PER_LATENT * PATCH
AUDIO_LAYERS = 12
"""Hidden states of Wav2Vec2 that flash uses (all but the first)."""
AUDIO_WINDOW = 5
"""Neighbouring video frames whose audio features one frame sees (two on either side)."""
AUDIO_TOKENS_PER_FRAME = 2
"""Preview: Wav2Vec2's own rate, 50 a second."""
PREVIEW_AUDIO_WINDOW = 17
"""Preview: audio tokens that one latent frame sees."""
IN_16_BITS = frozenset({"fp16", "bf16", "fp8"})
"""Precisions in which a network computes with 16 bits, or fewer."""
TEXT_TOKENS = 512
TEXT_STEP = 64
"""The denoiser is sent a multiple of this, so that Triton can merge prompts of about one length."""
IMAGE_TOKENS = 257
FINDER_SIDE_PX, FINDER_ANCHORS = 128, 896
MESH_SIDE_PX, MESH_POINTS = 192, 468
EYE_SIDE_PX = 64


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a network: its name, type and shape after the batch dimension.

    ``halved``: it is FP16 where the network computes in 16 bits and would round it all the same.
    """

    name: str
    dtype: DType
    dims: tuple[Dim, ...]
    halved: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """One Triton model."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch_size: int

    def on_the_wire(self, precision: str) -> "Network":
        """Returns the network as Triton has it when it is exported in a precision."""
        if precision not in IN_16_BITS:
            return self
        return replace(self, inputs=_halved(self.inputs), outputs=_halved(self.outputs))


def _halved(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(replace(t, dtype="FP16") if t.halved else t for t in tensors)


class ContractViolationError(ValueError):
    """An array does not have the type or shape that the table states."""


LATENTS = (LATENT_CHANNELS, "latent_frames", "latent_height", "latent_width")
VIDEO = (3, "frames", "height", "width")

AUDIO_ENCODER = Network(
    name="audio_encoder",
    # The interpolation from Wav2Vec2's own rate to video frames is two gathers and a weight, so
    # that the graph holds no rate: conv[low] + weight * (conv[high] - conv[low]) for each frame.
    inputs=(
        Tensor("waveform", "FP32", ("samples",)),
        Tensor("low", "INT64", ("frames",)),
        Tensor("high", "INT64", ("frames",)),
        Tensor("weight", "FP32", ("frames",)),
    ),
    outputs=(Tensor("features", "FP32", ("frames", AUDIO_LAYERS, "audio_width")),),
    max_batch_size=8,
)

TEXT_ENCODER = Network(
    name="text_encoder",
    # Always 512 tokens, but not to the graph: knowing the number, it would hold the position bias
    # of every block as a constant, 1.6 GB at the public size.
    inputs=(
        Tensor("token_ids", "INT64", ("text_tokens",)),
        Tensor("mask", "INT64", ("text_tokens",)),
    ),
    outputs=(Tensor("text", "FP32", ("text_tokens", "text_width"), halved=True),),
    max_batch_size=8,
)

IMAGE_ENCODER = Network(
    name="image_encoder",
    inputs=(Tensor("image", "UINT8", ("height", "width", 3)),),
    outputs=(Tensor("image_tokens", "FP32", (IMAGE_TOKENS, "image_width"), halved=True),),
    max_batch_size=8,
)

VAE_ENCODER = Network(
    name="vae_encoder",
    # A window's video, of which the first frames are known. Each of the others is one level, 0 for
    # mid-grey: how many there are is a length, so that Triton merges none that differ.
    inputs=(
        Tensor("known", "UINT8", ("known_frames", "height", "width", 3)),
        Tensor("grey", "FP32", ("grey_frames",)),
    ),
    outputs=(Tensor("latents", "FP32", LATENTS, halved=True),),
    max_batch_size=4,
)

PREVIEW_AUDIO_ENCODER = Network(
    name="audio_encoder",
    inputs=(Tensor("waveform", "FP32", ("samples",)),),
    outputs=(Tensor("features", "FP32", ("audio_tokens", "audio_width")),),
    max_batch_size=8,
)

TIME_MODULATION = Network(
    # What TeaCache plans with. A part of the denoiser, cheap enough to be asked for every step.
    name="time_modulation",
    inputs=(Tensor("timestep", "FP32", (1,)),),
    outputs=(Tensor("modulation", "FP32", (6, "denoiser_width")),),
    max_batch_size=64,
)

FACE_DETECTOR = Network(
    # Preview's: finds the face, where the caller does not say where it is. A map has a cell for
    # every 4 x 4 pixels; sides are multiples of 32.
    name="face_detector",
    inputs=(Tensor("image", "FP32", (3, "detector_height", "detector_width")),),
    outputs=(
        Tensor("heatmap", "FP32", (1, "map_height", "map_width")),
        Tensor("log_size", "FP32", (2, "map_height", "map_width")),
        Tensor("offset", "FP32", (2, "map_height", "map_width")),
    ),
    max_batch_size=8,
)

FACE_FINDER = Network(
    # MediaPipe's BlazeFace: of each of its anchors a box and six points, and how sure it is.
    name="face_finder",
    inputs=(Tensor("image", "UINT8", (FINDER_SIDE_PX, FINDER_SIDE_PX, 3)),),
    outputs=(
        Tensor("boxes", "FP32", (FINDER_ANCHORS, 16)),
        Tensor("logits", "FP32", (FINDER_ANCHORS,)),
    ),
    max_batch_size=16,
)

FACE_MESH = Network(
    # MediaPipe's mesh of one face, in pixels of what it sees; the logit says whether it is one.
    name="face_mesh",
    inputs=(Tensor("image", "UINT8", (MESH_SIDE_PX, MESH_SIDE_PX, 3)),),
    outputs=(
        Tensor("points", "FP32", (MESH_POINTS, 3)),
        Tensor("logit", "FP32", (1,)),
    ),
    max_batch_size=8,
)

EYE_MESH = Network(
    # MediaPipe's mesh of one eye, in pixels of what it sees, with the iris: centre and rim.
    name="eye_mesh",
    inputs=(Tensor("image", "UINT8", (EYE_SIDE_PX, EYE_SIDE_PX, 3)),),
    outputs=(
        Tensor("contour", "FP32", (71, 3)),
        Tensor("iris", "FP32", (5, 3)),
    ),
    max_batch_size=16,
)

# What a denoiser is asked for in a step: one or several branches of the guidance, its rows, which
# share all but what the gains say. So a row of Triton's batch is a stream, and the branches of one
# step stay together.
_LATENTS = Tensor("latents", "FP32", LATENTS, halved=True)
_CONDITION = Tensor(
    "condition", "FP32", (MASK_CHANNELS + LATENT_CHANNELS, *LATENTS[1:]), halved=True
)
_TIMESTEP = Tensor("timestep", "FP32", (1,))
_IMAGE = Tensor("image_tokens", "FP32", (IMAGE_TOKENS, "image_width"), halved=True)
_AUDIO_GAIN = Tensor("audio_gain", "FP32", ("rows",))
"""What the audio of each row is multiplied by: 1, or 0 for silence."""
_VELOCITY = Tensor("velocity", "FP32", ("rows", *LATENTS), halved=True)
_RESIDUAL = Tensor("residual", "FP32", ("rows", "tokens", "denoiser_width"))

DENOISER = Network(
    name="denoiser",
    inputs=(
        _LATENTS,
        _CONDITION,
        _TIMESTEP,
        # TEXT_TOKENS or fewer: the denoiser takes the rest for zeros, which are not sent.
        Tensor("text", "FP32", ("text_tokens", "text_width"), halved=True),
        _IMAGE,
        # The window's frames and AUDIO_WINDOW // 2 more on either side.
        Tensor("audio", "FP32", ("heard_frames", AUDIO_LAYERS, "audio_width"), halved=True),
        _AUDIO_GAIN,
    ),
    # The residual is what the blocks add to their tokens; `denoiser_cached` takes it back.
    outputs=(_VELOCITY, _RESIDUAL),
    max_batch_size=4,
)

PREVIEW_DENOISER = Network(
    name="denoiser",
    inputs=(
        _LATENTS,
        _CONDITION,
        _TIMESTEP,
        Tensor("text", "FP32", ("texts", "text_tokens", "text_width"), halved=True),
        # How the text of a row is made of the texts.
        Tensor("text_gain", "FP32", ("rows", "texts")),
        _IMAGE,
        Tensor("audio", "FP32", ("audio_tokens", "audio_width"), halved=True),
        _AUDIO_GAIN,
        Tensor("audio_index", "INT64", ("latent_frames", PREVIEW_AUDIO_WINDOW)),
        Tensor("face_mask", "FP32", ("token_rows", "token_columns")),
        Tensor("audio_scale", "FP32", (1,)),
    ),
    outputs=(_VELOCITY, _RESIDUAL),
    max_batch_size=4,
)

DENOISER_CACHED = Network(
    # The denoiser with a residual of an earlier step in place of its blocks.
    name="denoiser_cached",
    inputs=(_LATENTS, _CONDITION, _TIMESTEP, _RESIDUAL),
    outputs=(_VELOCITY,),
    max_batch_size=4,
)

VAE_DECODER = Network(
    name="vae_decoder",
    inputs=(Tensor("latents", "FP32", LATENTS, halved=True),),
    # The caller asks for one: uint8 frames are a quarter of the bytes, the float video is for
    # cross-fades and comparisons.
    outputs=(
        Tensor("frames", "UINT8", ("frames", "height", "width", 3)),
        Tensor("video", "FP32", VIDEO, halved=True),
    ),
    max_batch_size=4,
)

LIGHT_DECODER = replace(VAE_DECODER, name="vae_decoder_light")
"""One that takes less memory and gives less detail; a repository may be without it."""


def _by_name(*networks: Network) -> dict[str, Network]:
    return {network.name: network for network in networks}


_SHARED = (
    IMAGE_ENCODER,
    TEXT_ENCODER,
    VAE_ENCODER,
    TIME_MODULATION,
    DENOISER_CACHED,
    VAE_DECODER,
)

NETWORKS: dict[Variant, dict[str, Network]] = {
    "flash": _by_name(AUDIO_ENCODER, DENOISER, *_SHARED),
    "preview": _by_name(PREVIEW_AUDIO_ENCODER, FACE_DETECTOR, PREVIEW_DENOISER, *_SHARED),
}

PORTRAIT_NETWORKS: dict[str, Network] = _by_name(FACE_FINDER, FACE_MESH, EYE_MESH)
"""What portraits are looked at with; a repository may be without them."""
SERVED: dict[Variant, dict[str, Network]] = {
    variant: networks | PORTRAIT_NETWORKS | _by_name(LIGHT_DECODER)
    for variant, networks in NETWORKS.items()
}
"""What a repository of each variant may hold."""
OF_NO_CHECKPOINT = frozenset({FACE_DETECTOR.name, *PORTRAIT_NETWORKS})
"""Networks that stay the same whatever is exported."""


def fingerprint(variant: Variant) -> str:
    """Returns a name for a variant's networks, tensors and shapes: another table, another name."""
    table = sorted(NETWORKS[variant].items())
    return hashlib.sha256(repr(table).encode()).hexdigest()[:16]


def latent_frames(frames: int) -> int:
    """Returns how many latent frames stand for a number of video frames.

    Raises:
        ContractViolationError: ``frames`` is not of the form 4k + 1.
    """
    if frames < 1 or (frames - 1) % FRAMES_PER_LATENT:
        raise ContractViolationError(f"a window has 4k + 1 frames, got {frames}")
    return (frames - 1) // FRAMES_PER_LATENT + 1


def check(tensors: Iterable[Tensor], arrays: Arrays, *, where: str) -> None:
    """Checks arrays, batch dimension first, against the table.

    Raises:
        ContractViolationError: a type, rank or length differs, or one name has two lengths.
    """
    lengths: dict[str, int] = {}
    for tensor in tensors:
        if tensor.name not in arrays:
            raise ContractViolationError(f"{where}: {tensor.name} is missing")
        array = arrays[tensor.name]
        expected = ("batch", *tensor.dims)
        matches = array.dtype == NUMPY_DTYPES[tensor.dtype] and array.ndim == len(expected)
        for dim, length in zip(expected, array.shape, strict=False):
            wanted = dim if isinstance(dim, int) else lengths.setdefault(dim, length)
            matches = matches and wanted == length
        if not matches:
            raise ContractViolationError(
                f"{where}: {tensor.name} should be {tensor.dtype} {list(expected)}, "
                f"got {array.dtype} {list(array.shape)}"
            )


def cast(tensors: Iterable[Tensor], arrays: Arrays) -> dict[str, NDArray[np.generic]]:
    """Returns arrays in the types of the table; those that have them are not copied."""
    types = {tensor.name: NUMPY_DTYPES[tensor.dtype] for tensor in tensors}
    return {name: array.astype(types[name], copy=False) for name, array in arrays.items()}
