"""The public checkpoint layout: where each network's weights and sizes are.

    CHECKPOINT_DIR/
      config.yaml                                  sizes unlike the public ones (optional)
      Wan2.1-Fun-V1.1-1.3B-InP/
        config.json                                the denoiser's sizes
        Wan2.1_VAE.pth
        models_t5_umt5-xxl-enc-bf16.pth
        models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth
        google/umt5-xxl/tokenizer.json
      chinese-wav2vec2-base/                       flash, or wav2vec2-base-960h/ for preview
      transformer/diffusion_pytorch_model.safetensors

Each file of weights may also be in shards beside an index.json, or pickled.
"""

import hashlib
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from export.checkpoint.variant import variant_of
from export.checkpoint.weights import (
    CheckpointError,
    CheckpointMismatchError,
    WeightFile,
    find_weights,
)
from server.triton.contract import Variant

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
AUDIO_ENCODER_WEIGHTS = "pytorch_model.bin"
SAFE_AUDIO_ENCODER_WEIGHTS = "model.safetensors"

DIGEST_BYTES = 1 << 20


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

    def weights(self, path: Path) -> WeightFile:
        """Returns a network's file of weights.

        Raises:
            CheckpointError: it is missing.
        """
        found = find_weights(self.root / path)
        if found is None:
            raise CheckpointError(
                f"{self.root / path} is missing, whole, in shards or pickled; "
                "README.md shows the layout expected"
            )
        return found

    @contextmanager
    def fitting(self, path: Path) -> Generator[dict[str, Tensor]]:
        """Lends a network's tensors, mapped into memory, and names their file if they do not fit.

        Raises:
            CheckpointError: the file is missing or damaged.
            CheckpointMismatchError: the network has other tensors.
        """
        weights = self.weights(path)
        try:
            yield weights.tensors()
        except CheckpointMismatchError as error:
            raise CheckpointMismatchError(
                f"{weights.path} does not fit the sizes of config.yaml or the public ones: {error}"
            ) from error

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
            CheckpointError: the denoiser's file is missing or damaged, or belongs to neither.
        """
        weights = self.weights(DENOISER)
        try:
            return variant_of(weights.keys())
        except CheckpointMismatchError as error:
            raise CheckpointMismatchError(f"{weights.path}: {error}") from error

    @property
    def audio_encoder(self) -> Path:
        """The folder of Wav2Vec2, relative to the root.

        Raises:
            CheckpointError: it is missing.
        """
        folder = AUDIO_ENCODERS[self.variant]
        if not (self.root / folder).is_dir():
            raise CheckpointError(
                f"{self.root / folder} is missing; the denoiser is that of {self.variant}"
            )
        return folder

    @property
    def audio_encoder_weights(self) -> Path:
        """Wav2Vec2's file of weights, relative to the root."""
        safe = self.audio_encoder / SAFE_AUDIO_ENCODER_WEIGHTS
        known = find_weights(self.root / safe)
        return self.audio_encoder / AUDIO_ENCODER_WEIGHTS if known is None else safe

    def digest(self) -> str:
        """Returns a name for these weights: of each file its path, length, beginning and end."""
        digest = hashlib.sha256()
        for path in self.networks.values():
            for weights in self.weights(path).files:
                with weights.open("rb") as file:
                    length = file.seek(0, 2)
                    digest.update(f"{weights.relative_to(self.root)} {length}\n".encode())
                    for start in (0, max(0, length - DIGEST_BYTES)):
                        file.seek(start)
                        digest.update(file.read(DIGEST_BYTES))
        return digest.hexdigest()[:16]

    @property
    def networks(self) -> dict[str, Path]:
        """The files of weights by what they hold, relative to the root."""
        return {
            "denoiser": DENOISER,
            "vae": VAE,
            "text_encoder": TEXT_ENCODER,
            "image_encoder": IMAGE_ENCODER,
            "audio_encoder": self.audio_encoder_weights,
        }

    @cached_property
    def _config(self) -> dict[str, Any]:
        path = self.root / CONFIG
        return yaml.safe_load(path.read_text()) if path.is_file() else {}
