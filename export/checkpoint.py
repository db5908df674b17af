"""The public checkpoint layout: where each network's weights and sizes are.

CHECKPOINT_DIR/
config.yaml                                  sizes that differ from the public ones (optional)
Wan2.1-Fun-V1.1-1.3B-InP/
config.json                                the denoiser's sizes
Wan2.1_VAE.pth
models_t5_umt5-xxl-enc-bf16.pth
models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth
google/umt5-xxl/tokenizer.json
chinese-wav2vec2-base/                       flash, or wav2vec2-base-960h/ for preview
transformer/diffusion_pytorch_model.safetensors
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from export.denoiser_config import variant_of
from server.contract import Variant

BASE = Path("Wan2.1-Fun-V1.1-1.3B-InP")
CONFIG = Path("config.yaml")
DENOISER = Path("transformer/diffusion_pytorch_model.safetensors")
DENOISER_CONFIG = BASE / "config.json"
VAE = BASE / "Wan2.1_VAE.pth"
TEXT_ENCODER = BASE / "models_t5_umt5-xxl-enc-bf16.pth"
IMAGE_ENCODER = BASE / "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
TOKENIZER = BASE / "google/umt5-xxl/tokenizer.json"
AUDIO_ENCODERS: Mapping[Variant, Path] = {
    "flash": Path("chinese-wav2vec2-base"),
    "preview": Path("wav2vec2-base-960h"),
}
AUDIO_ENCODER_WEIGHTS = ("model.safetensors", "pytorch_model.bin")

DIGEST_BYTES = 1 << 20


class CheckpointError(Exception):
    """The checkpoint cannot be used; the text is one line that names the file."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder in the public layout."""

    root: Path

    def sizes(self, section: str) -> Mapping[str, Any]:
        """Returns a section of config.yaml, as ``vae_kwargs``; empty means the public sizes."""
        return self._config.get(section, {})

    def json(self, path: Path) -> dict[str, Any]:
        """Reads a JSON file."""
        try:
            return json.loads(self.existing(path).read_text())
        except ValueError as error:
            raise CheckpointError(f"{self.root / path} is no JSON file: {error}") from error

    def tensors(self, path: Path) -> dict[str, Tensor]:
        """Reads a file of tensors, mapped into memory rather than copied where the form allows."""
        file = self.existing(path)
        try:
            if file.suffix == ".safetensors":
                return load_file(file)
            return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        # torch and pickle have no common error for a damaged file.
        except (SafetensorError, RuntimeError, ValueError, EOFError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{file} cannot be read: {reason}") from error

    def existing(self, path: Path) -> Path:
        """Returns the absolute path of a file of the layout.

        Raises:
            CheckpointError: it is missing.
        """
        file = self.root / path
        if not file.is_file():
            raise CheckpointError(f"{file} is missing; README.md shows the layout expected")
        return file

    @cached_property
    def variant(self) -> Variant:
        """Which of the public models this is, by the tensors of its denoiser.

        Raises:
            CheckpointError, CheckpointMismatchError: it cannot be told.
        """
        file = self.existing(DENOISER)
        try:
            with safe_open(file, framework="pt") as tensors:
                return variant_of(tensors.keys())
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} cannot be read: {error}") from error

    @property
    def audio_encoder(self) -> Path:
        """The folder of Wav2Vec2, relative to the root."""
        return AUDIO_ENCODERS[self.variant]

    def audio_encoder_weights(self) -> Path:
        """Returns which of the usual files holds Wav2Vec2, relative to the root."""
        for name in AUDIO_ENCODER_WEIGHTS:
            if (self.root / self.audio_encoder / name).is_file():
                return self.audio_encoder / name
        return self.audio_encoder / AUDIO_ENCODER_WEIGHTS[0]

    def digest(self) -> str:
        """Returns a name for these weights: of each file its path, length, beginning and end."""
        files = (DENOISER, VAE, TEXT_ENCODER, IMAGE_ENCODER, self.audio_encoder_weights())
        digest = hashlib.sha256()
        for path in files:
            with self.existing(path).open("rb") as file:
                length = file.seek(0, 2)
                digest.update(f"{path} {length}\n".encode())
                for start in (0, max(0, length - DIGEST_BYTES)):
                    file.seek(start)
                    digest.update(file.read(DIGEST_BYTES))
        return digest.hexdigest()[:16]

    @cached_property
    def _config(self) -> dict[str, Any]:
        path = self.root / CONFIG
        return yaml.safe_load(path.read_text()) if path.is_file() else {}
