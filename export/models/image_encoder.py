"""The image tower of CLIP ViT-H/14: a portrait to the tokens that the denoiser attends to."""

import re
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from export.models.loading import load_strictly

PUBLIC_SIZES: Mapping[str, Any] = {
    "image_size": 224,
    "patch_size": 14,
    "vision_dim": 1280,
    "vision_mlp_ratio": 4,
    "vision_heads": 16,
    "vision_layers": 32,
}
"""Sizes of models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth, in the words of Wan2.1's
``wan/modules/clip.py``."""

# From the library's keys to the checkpoint's; query, key and value are joined in it.
RENAMES = (
    (r"^embeddings\.class_embedding$", "visual.cls_embedding"),
    (r"^embeddings\.patch_embedding\.", "visual.patch_embedding."),
    (r"^embeddings\.position_embedding\.weight$", "visual.pos_embedding"),
    (r"^pre_layrnorm\.", "visual.pre_norm."),
    (r"^post_layernorm\.", "visual.post_norm."),
    (r"^encoder\.layers\.", "visual.transformer."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.self_attn\.[qkv]_proj\.", ".attn.to_qkv."),
    (r"\.layer_norm", ".norm"),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
)
QKV = ("q_proj", "k_proj", "v_proj")
IGNORED = ("textual.", "log_scale", "visual.head")
"""What the checkpoint holds beside the image tower: the text tower and the way to compare both."""

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""The statistics of the images that CLIP was trained on (Radford et al., 2021)."""


def build_image_encoder(sizes: Mapping[str, Any] = PUBLIC_SIZES) -> CLIPVisionModel:
    """Builds an image tower without weights worth keeping.

    Args:
        sizes: those that differ from ``PUBLIC_SIZES``, under the same keys.
    """
    sizes = {**PUBLIC_SIZES, **sizes}
    config = CLIPVisionConfig(
        image_size=sizes["image_size"],
        patch_size=sizes["patch_size"],
        hidden_size=sizes["vision_dim"],
        intermediate_size=int(sizes["vision_dim"] * sizes["vision_mlp_ratio"]),
        num_attention_heads=sizes["vision_heads"],
        num_hidden_layers=sizes["vision_layers"],
        hidden_act="gelu",
    )
    return CLIPVisionModel(config).eval().requires_grad_(False)


def public_tensors(vision: CLIPVisionModel) -> dict[str, Tensor]:
    """Returns the tensors of an image tower as the checkpoint has them."""
    weights = vision.state_dict()
    parts: dict[str, list[Tensor]] = {}
    # Query, key, value: the order in which they are joined, and not the library's.
    for key in sorted(weights, key=lambda key: [name in key for name in reversed(QKV)]):
        parts.setdefault(_public_key(key), []).append(weights[key])
    public = {key: torch.cat(tensors) for key, tensors in parts.items()}
    public["visual.cls_embedding"] = public["visual.cls_embedding"][None, None]
    public["visual.pos_embedding"] = public["visual.pos_embedding"][None]
    return public


def load_image_encoder(
    state_dict: Mapping[str, Tensor], sizes: Mapping[str, Any] = PUBLIC_SIZES
) -> CLIPVisionModel:
    """Builds the image tower around the tensors of the public CLIP checkpoint, without a copy.

    Args:
        state_dict: the tensors under their public names; the text tower may be present.
        sizes: those that differ from ``PUBLIC_SIZES``, under the same keys.

    Raises:
        CheckpointMismatchError: a tensor is missing, unknown or of another shape.
    """
    with torch.device("meta"):
        vision = build_image_encoder(sizes)
    kept = {key: tensor for key, tensor in state_dict.items() if not key.startswith(IGNORED)}
    expected = vision.state_dict()
    found = {
        key: _part(kept[_public_key(key)], key) for key in expected if _public_key(key) in kept
    }
    known = {_public_key(key) for key in expected}
    unexpected = {key: tensor for key, tensor in kept.items() if key not in known}
    load_strictly(vision, found | unexpected, _public_key)
    # Not part of any checkpoint, so it would stay on the meta device.
    positions = torch.arange(vision.embeddings.num_positions).unsqueeze(0)
    vision.embeddings.register_buffer("position_ids", positions, persistent=False)
    return vision.eval().requires_grad_(False)


def _public_key(key: str) -> str:
    for pattern, replacement in RENAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _part(tensor: Tensor, key: str) -> Tensor:
    """Returns what the library has under its key out of the checkpoint's tensor."""
    if key in ("embeddings.class_embedding", "embeddings.position_embedding.weight"):
        return tensor.squeeze()
    for index, name in enumerate(QKV):
        if f".{name}." in key:
            return tensor.chunk(3)[index]
    return tensor


class ImageEncoder(nn.Module):
    """The tower up to the input of its last block, from the portrait's own pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self, vision: CLIPVisionModel) -> None:
        super().__init__()
        self.size = cast("int", vision.config.image_size)
        self.embeddings = vision.embeddings
        self.pre_norm = vision.pre_layrnorm
        self.blocks = vision.encoder.layers[:-1]
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Encodes portraits.

        Args:
            image: uint8 RGB [B, H, W, 3], of any size and aspect.

        Returns:
            The class token and the patches, float32 [B, 257, C].
        """
        hidden = self.pre_norm(self.embeddings(self.preprocess(image)))
        for block in self.blocks:
            hidden = block(hidden, attention_mask=None)
        return hidden.float()

    def preprocess(self, image: Tensor) -> Tensor:
        """Squeezes uint8 RGB [B, H, W, 3] into CLIP's square and normalises it.

        As in EchoMimic V3's ``src/wan_image_encoder.py``: bicubic without antialiasing, the aspect
        ignored, overshoots kept. The authors resize in [-1, 1], which a linear resize cannot tell
        from [0, 1].

        Returns:
            float32 [B, 3, 224, 224].
        """
        # From bytes first: TensorRT has them at the borders of a graph only.
        pixels = image.float().permute(0, 3, 1, 2) / 255
        square = nn.functional.interpolate(
            pixels, size=(self.size, self.size), mode="bicubic", align_corners=False
        )
        return (square - self.mean) / self.std
