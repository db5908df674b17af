"""Checkpoints with random weights, in the public layout, file for file and key for key.

Tiny ones go through the same path as the public ones; those of the public sizes show what that path
costs.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from export.checkpoint import layout
from export.models import audio_encoder, image_encoder, text_encoder
from export.models.denoiser.config import DenoiserConfig
from export.models.denoiser.model import VARIANTS
from export.models.vae import coder as vae
from server.triton.contract import Variant


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a checkpoint.

    Attributes:
        denoiser: config.json of the transformer.
        audio_encoder: Wav2Vec2's; twelve layers, since the denoiser reads that many hidden states.
        others: config.yaml, sections of it by name.
        audio_hidden: hidden width of flash's audio projection.
        audio_tokens: tokens that a latent frame's audio becomes in flash.
        dtype: type of all weights but Wav2Vec2's.
    """

    denoiser: Mapping[str, Any]
    audio_encoder: Mapping[str, Any]
    others: Mapping[str, Mapping[str, Any]]
    audio_hidden: int
    audio_tokens: int
    dtype: torch.dtype = torch.float32

    def denoiser_config(self, variant: Variant) -> DenoiserConfig:
        """Returns what the denoiser is built from."""
        sizes = {key: size for key, size in self.denoiser.items() if key != "model_type"}
        return DenoiserConfig(
            variant=variant,
            image_dim=self.others["image_encoder_kwargs"]["vision_dim"],
            audio_dim=Wav2Vec2Config(**self.audio_encoder).hidden_size,
            audio_hidden_dim=self.audio_hidden,
            audio_tokens=self.audio_tokens,
            **{**sizes, "patch_size": tuple(sizes["patch_size"])},
        )


TINY = Sizes(
    denoiser={
        "model_type": "i2v",
        "patch_size": [1, 2, 2],
        "text_len": 512,
        "in_dim": 36,
        "dim": 96,
        "ffn_dim": 192,
        "freq_dim": 64,
        "text_dim": 64,
        "out_dim": 16,
        "num_heads": 4,
        "num_layers": 2,
        "eps": 1e-6,
    },
    audio_encoder={
        "hidden_size": 32,
        "num_hidden_layers": 12,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "conv_dim": [16] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    },
    others={
        "vae_kwargs": {"dim": 8, "num_res_blocks": 1},
        "text_encoder_kwargs": {
            "vocab": 512,
            "dim": 64,
            "dim_attn": 64,
            "dim_ffn": 128,
            "num_heads": 4,
            "num_layers": 2,
        },
        "image_encoder_kwargs": {"vision_dim": 48, "vision_heads": 4, "vision_layers": 3},
    },
    audio_hidden=32,
    audio_tokens=32,
)
PUBLIC = Sizes(
    denoiser={
        **TINY.denoiser,
        "dim": 1536,
        "ffn_dim": 8960,
        "freq_dim": 256,
        "text_dim": 4096,
        "num_heads": 12,
        "num_layers": 30,
    },
    audio_encoder={},
    others={
        "vae_kwargs": vae.PUBLIC_SIZES,
        "text_encoder_kwargs": text_encoder.PUBLIC_SIZES,
        "image_encoder_kwargs": image_encoder.PUBLIC_SIZES,
    },
    audio_hidden=512,
    audio_tokens=32,
    dtype=torch.bfloat16,
)
SPECIAL_TOKENS = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
CORPUS = (
    "cinematic portrait, soft studio key light, shallow depth of field, filmic color",
    "professional headshot, artistic painting, natural daylight, a person is speaking",
)


def make_tiny(root: Path, *, seed: int, variant: Variant = "flash", sizes: Sizes = TINY) -> None:
    """Writes a checkpoint folder.

    Args:
        root: the folder; files in it are replaced.
        seed: of the weights.
        variant: which of the public models it is a small one of.
        sizes: with PUBLIC it writes 19 GB and takes as much memory as its largest file, 11 GB.
    """
    torch.manual_seed(seed)
    audio_folder = layout.AUDIO_ENCODERS[variant]
    for folder in (audio_folder, layout.TOKENIZER.parent, layout.DENOISER.parent):
        (root / folder).mkdir(parents=True, exist_ok=True)
    _save_json(root / layout.DENOISER_CONFIG, sizes.denoiser)
    save_file(_denoiser(variant, sizes), root / layout.DENOISER)
    wav2vec2 = Wav2Vec2Model(Wav2Vec2Config(**sizes.audio_encoder))
    _save_json(root / audio_folder / "config.json", wav2vec2.config.to_dict())
    torch.save(
        audio_encoder.public_tensors(wav2vec2),
        root / audio_folder / layout.AUDIO_ENCODER_WEIGHTS,
    )
    del wav2vec2
    for path, shapes in _base(sizes.others):
        torch.save(_random(shapes, sizes.dtype), root / path)
    tokenizer(sizes.others["text_encoder_kwargs"]["vocab"]).save(str(root / layout.TOKENIZER))
    _save_json(
        root / layout.TOKENIZER.with_name("tokenizer_config.json"),
        {"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL_TOKENS},
    )
    # Last, since it tells that the folder is complete.
    (root / layout.CONFIG).write_text(yaml.safe_dump({k: dict(v) for k, v in sizes.others.items()}))


def _denoiser(variant: Variant, sizes: Sizes) -> dict[str, Tensor]:
    with torch.device("meta"):
        denoiser = VARIANTS[variant](sizes.denoiser_config(variant))
    return _random(denoiser.state_dict(), sizes.dtype)


def _base(sizes: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Path, Mapping[str, Tensor]]]:
    """Yields the files of the base with their tensors, which have shapes and no values."""
    with torch.device("meta"):
        clip = image_encoder.build_image_encoder(sizes["image_encoder_kwargs"])
        umt5 = text_encoder.build_text_encoder(sizes["text_encoder_kwargs"])
        wan = vae.build_vae(sizes["vae_kwargs"])
    yield layout.IMAGE_ENCODER, image_encoder.public_tensors(clip)
    yield layout.TEXT_ENCODER, text_encoder.public_tensors(umt5)
    yield layout.VAE, vae.public_tensors(wan)


def _random(shapes: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Draws weights that keep the scale of what passes through them, so that all of them matter."""
    return {key: _draw(key, like.shape).to(dtype) for key, like in shapes.items()}


def _draw(key: str, shape: torch.Size) -> Tensor:
    noise = torch.randn(shape)
    fan_in = math.prod(shape[1:])
    if ("norm" in key and key.endswith("weight")) or key.endswith("gamma"):
        return 1 + 0.1 * noise
    if fan_in == 1 or "modulation" in key:
        return 0.05 * noise
    return noise / math.sqrt(fan_in)


def tokenizer(vocabulary: int) -> Tokenizer:
    """A tokenizer of umT5's kind: unigram pieces, `</s>` at the end, `<pad>` is 0.

    Its pieces are words and letters, listed rather than trained: the library's trainer gives
    others from run to run.
    """
    words = dict.fromkeys(f"▁{word}" for text in CORPUS for word in text.split())
    letters = sorted(set("".join(words)))
    pieces = [(token, 0.0) for token in SPECIAL_TOKENS.values()]
    pieces += [(word, -2.0) for word in words] + [(letter, -4.0) for letter in letters]
    assert len(pieces) <= vocabulary
    unknown = list(SPECIAL_TOKENS).index("unk_token")
    tokenizer = Tokenizer(models.Unigram(pieces, unknown))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS.values()))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def _save_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
