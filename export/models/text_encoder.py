"""The encoder of umT5: a prompt's tokens to the text that the denoiser attends to."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import UMT5Config, UMT5EncoderModel

from export.models.loading import load_strictly

PUBLIC_SIZES: Mapping[str, Any] = {
    "vocab": 256384,
    "dim": 4096,
    "dim_attn": 4096,
    "dim_ffn": 10240,
    "num_heads": 64,
    "num_layers": 24,
    "num_buckets": 32,
}
"""Sizes of models_t5_umt5-xxl-enc-bf16.pth, in the words of EchoMimic V3's ``config.yaml``."""

# From the library's keys to the checkpoint's. Every block has a position table of its own.
RENAMES = (
    (r"^shared\.", "token_embedding."),
    (r"^encoder\.final_layer_norm\.", "norm."),
    (r"^encoder\.block\.", "blocks."),
    (r"\.layer\.0\.layer_norm\.", ".norm1."),
    (r"\.layer\.0\.SelfAttention\.relative_attention_bias\.", ".pos_embedding.embedding."),
    (r"\.layer\.0\.SelfAttention\.", ".attn."),
    (r"\.layer\.1\.layer_norm\.", ".norm2."),
    (r"\.layer\.1\.DenseReluDense\.wi_0\.", ".ffn.gate.0."),
    (r"\.layer\.1\.DenseReluDense\.wi_1\.", ".ffn.fc1."),
    (r"\.layer\.1\.DenseReluDense\.wo\.", ".ffn.fc2."),
)
TIED = "encoder.embed_tokens.weight"
"""The library's second name for the token embedding."""


def build_text_encoder(sizes: Mapping[str, Any] = PUBLIC_SIZES) -> UMT5EncoderModel:
    """Builds umT5 without weights worth keeping.

    Args:
        sizes: those that differ from ``PUBLIC_SIZES``, under the same keys.
    """
    sizes = {**PUBLIC_SIZES, **sizes}
    config = UMT5Config(
        vocab_size=sizes["vocab"],
        d_model=sizes["dim"],
        d_kv=sizes["dim_attn"] // sizes["num_heads"],
        d_ff=sizes["dim_ffn"],
        num_heads=sizes["num_heads"],
        num_layers=sizes["num_layers"],
        relative_attention_num_buckets=sizes["num_buckets"],
        feed_forward_proj="gated-gelu",
    )
    model = UMT5EncoderModel(config)
    # The only implementation that takes TextEncoder's boolean mask.
    model.set_attn_implementation("sdpa")
    return model.eval().requires_grad_(False)


def public_tensors(umt5: UMT5EncoderModel) -> dict[str, Tensor]:
    """Returns the tensors of an encoder as the checkpoint has them."""
    return {_public_key(key): t for key, t in umt5.state_dict().items() if key != TIED}


def load_text_encoder(
    state_dict: Mapping[str, Tensor], sizes: Mapping[str, Any] = PUBLIC_SIZES
) -> UMT5EncoderModel:
    """Builds umT5 around the tensors of the public checkpoint, without copying them.

    Args:
        state_dict: the tensors under their public names.
        sizes: those that differ from ``PUBLIC_SIZES``, under the same keys.

    Raises:
        CheckpointMismatchError: a tensor is missing, unknown or of another shape.
    """
    with torch.device("meta"):
        model = build_text_encoder(sizes)
    library_keys = {_public_key(key): key for key in model.state_dict() if key != TIED}
    renamed = {library_keys.get(key, key): tensor for key, tensor in state_dict.items()}
    if "shared.weight" in renamed:
        renamed[TIED] = renamed["shared.weight"]
    load_strictly(model, renamed, _public_key)
    model.set_input_embeddings(model.shared)
    return model.eval().requires_grad_(False)


def _public_key(key: str) -> str:
    for pattern, replacement in RENAMES:
        key = re.sub(pattern, replacement, key)
    return key


class TextEncoder(nn.Module):
    """Prompts as the denoiser reads them."""

    def __init__(self, umt5: UMT5EncoderModel) -> None:
        super().__init__()
        self.encoder = umt5.encoder

    def forward(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Encodes padded prompts of any one length.

        Args:
            token_ids: int64 [B, L].
            mask: int64 [B, L], 1 for tokens and 0 for padding.

        Returns:
            float32 [B, L, C], zero where the mask is.
        """
        present = mask != 0
        # Every layer adds to the embeddings, so they go on in float32 whatever the table is in.
        embeddings = self.encoder.embed_tokens(token_ids).float()
        states = self.encoder(inputs_embeds=embeddings, attention_mask=present[:, None, None, :])
        return states.last_hidden_state.float() * present.unsqueeze(-1)
