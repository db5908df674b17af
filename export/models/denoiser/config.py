"""The sizes of an EchoMimic V3 denoiser, read from its checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from export.checkpoint.errors import CheckpointMismatchError
from export.checkpoint.sizes import positive_number, whole_number
from export.checkpoint.variant import variant_of
from server.triton.contract import AUDIO_LAYERS, AUDIO_WINDOW, Variant

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Riflex:
    """Slows one temporal frequency down so that videos longer than the trained ones do not repeat.

    RIFLEx (https://arxiv.org/abs/2502.15894, equation 8), with the further slowdown of the authors.

    Attributes:
        k: which temporal frequency, counted from 1.
        latent_frames: the length of the video.
    """

    k: int
    latent_frames: int


@dataclass(frozen=True, slots=True)
class DenoiserConfig:
    """What the transformer and its audio projection are built from.

    Attributes:
        text_len: text tokens that the model was trained with; shorter texts are padded with zeros.
        image_dim: width of the CLIP tokens.
        audio_dim: width of one hidden state of the audio encoder.
        audio_hidden_dim: hidden width of the audio projection; 0 in preview, which has none.
        audio_tokens: tokens a latent frame's audio becomes; 0 in preview, whose windows tell.
    """

    variant: Variant
    dim: int
    ffn_dim: int
    freq_dim: int
    text_dim: int
    text_len: int
    num_heads: int
    num_layers: int
    in_dim: int
    out_dim: int
    patch_size: tuple[int, int, int]
    eps: float
    image_dim: int
    audio_dim: int
    audio_hidden_dim: int
    audio_tokens: int
    riflex: Riflex | None = None

    @classmethod
    def from_checkpoint(
        cls, config: Mapping[str, Any], shapes: Shapes, riflex: Riflex | None = None
    ) -> "DenoiserConfig":
        """Reads the transformer's own config.json and, for what it leaves out, the weights.

        Args:
            config: config.json of the transformer; what may be absent has the authors' defaults.
            shapes: the shape of every tensor of the checkpoint, by its key.
            riflex: a change of the temporal frequencies, which no checkpoint asks for.

        Raises:
            CheckpointMismatchError: a size or tensor is missing, the variant is unknown, or the
                config asks for an architecture that EchoMimic V3 does not have.
        """
        for name, value in (("model_type", "i2v"), ("qk_norm", True), ("cross_attn_norm", True)):
            if config.get(name, value) != value:
                raise CheckpointMismatchError(f"{name} is {config[name]!r}, not {value!r}")
        variant = variant_of(shapes)
        dim, num_heads = _size(config, "dim"), _size(config, "num_heads")
        if dim % (2 * num_heads):
            raise CheckpointMismatchError(
                f"dim {dim} is no even number for each of {num_heads} heads"
            )
        audio_dim, audio_hidden_dim, audio_tokens = _audio_sizes(variant, dim, shapes)
        return cls(
            variant=variant,
            dim=dim,
            ffn_dim=_size(config, "ffn_dim"),
            freq_dim=_size(config, "freq_dim", 256),
            text_dim=_size(config, "text_dim", 4096),
            text_len=_size(config, "text_len", 512),
            num_heads=num_heads,
            num_layers=_size(config, "num_layers"),
            in_dim=_size(config, "in_dim"),
            out_dim=_size(config, "out_dim", 16),
            patch_size=_patch(config.get("patch_size", (1, 2, 2))),
            eps=positive_number(config.get("eps", 1e-6), "eps"),
            image_dim=_shape(shapes, "img_emb.proj.1.weight")[1],
            audio_dim=audio_dim,
            audio_hidden_dim=audio_hidden_dim,
            audio_tokens=audio_tokens,
            riflex=riflex,
        )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.num_heads


def _audio_sizes(variant: Variant, dim: int, shapes: Shapes) -> tuple[int, int, int]:
    if variant == "preview":
        return _shape(shapes, "audio2token.proj.weight")[1], 0, 0
    hidden_dim, window_features = _shape(shapes, "audio_injection.proj1.weight")
    outputs, _ = _shape(shapes, "audio_injection.proj3.weight")
    return window_features // (AUDIO_WINDOW * AUDIO_LAYERS), hidden_dim, outputs // dim


def _size(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name, default)
    if value is None:
        raise CheckpointMismatchError(f"{name} is missing")
    return whole_number(value, name)


def _patch(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise CheckpointMismatchError(f"patch_size is {value!r}, not three numbers")
    frames, rows, columns = (whole_number(side, "patch_size") for side in value)
    return frames, rows, columns


def _shape(shapes: Shapes, key: str) -> tuple[int, ...]:
    if key not in shapes:
        raise CheckpointMismatchError(f"1 missing: {key}")
    return shapes[key]
