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
      echomimicv3-flash-pro/                       flash, or transformer/ for either
        diffusion_pytorch_model.safetensors

Each file of weights may also be in shards beside an index.json, in safetensors or pickled. Folders
may lie where download tools put them: `export.checkpoint.folders`.
"""

import hashlib
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from export.checkpoint.errors import CheckpointError, CheckpointMismatchError
from export.checkpoint.folders import find_folder, unfinished
from export.checkpoint.sizes import read_config, sizes_of
from export.checkpoint.tensor_file import check_fetched
from export.checkpoint.variant import variant_of
from export.checkpoint.weights import WeightFile, find_weights
from server.triton.contract import Variant

BASE = Path("Wan2.1-Fun-V1.1-1.3B-InP")
CONFIG = Path("config.yaml")
WEIGHTS = "diffusion_pytorch_model.safetensors"
DENOISER, FLASH_DENOISER = Path("transformer", WEIGHTS), Path("echomimicv3-flash-pro", WEIGHTS)
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
PUBLISHED = (
    (BASE, "alibaba-pai/Wan2.1-Fun-V1.1-1.3B-InP"),
    (AUDIO_ENCODERS["flash"], "TencentGameMate/chinese-wav2vec2-base"),
    (AUDIO_ENCODERS["preview"], "facebook/wav2vec2-base-960h"),
    (Path(), "BadToBest/EchoMimicV3"),
)
"""The repository on Hugging Face that each folder holds."""
FOLDERS = (BASE, *AUDIO_ENCODERS.values(), FLASH_DENOISER.parent, DENOISER.parent)
"""What is found wherever download tools put it."""

DIGEST_BYTES = 1 << 20
# What building a module raises when sizes contradict each other.
CONTRADICTIONS = (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder in the public layout.

    Attributes:
        root: the folder.
        asked: the variant to take where the folder holds both.
        device: where tensors are lent; on "meta" they have shapes and no values.
    """

    root: Path
    asked: Variant | None = None
    device: Literal["cpu", "meta"] = "cpu"

    def sizes(self, section: str, public: Mapping[str, Any]) -> dict[str, Any]:
        """Returns public sizes as a section of config.yaml, as ``vae_kwargs``, changes them.

        Raises:
            CheckpointError: config.yaml is damaged, or states what is no size.
        """
        return sizes_of(self.config, section, public, self.root / CONFIG)

    def json(self, path: Path) -> dict[str, Any]:
        """Reads a JSON object.

        Raises:
            CheckpointError: the file is missing, or holds something else.
        """
        file = self.existing(path)
        check_fetched(file, self.fetch(path))
        try:
            # From bytes, which takes a byte-order mark.
            content = json.loads(file.read_bytes())
        except ValueError as error:
            raise CheckpointError(f"{file} is no JSON file: {error}") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{file} holds a {type(content).__name__}, not an object")
        return content

    def weights(self, path: Path) -> WeightFile:
        """Returns a network's file of weights.

        Raises:
            CheckpointError: it is missing.
        """
        file = self.place(path)
        found = find_weights(file, self.fetch(path))
        if found is None:
            raise CheckpointError(
                f"{file} is missing, whole, in shards or pickled"
                f"{self._unfinished(path)}: {self.fetch(path)}"
            )
        return found

    @contextmanager
    def fitting(self, path: Path) -> Generator[dict[str, Tensor]]:
        """Lends a network's tensors, mapped into memory, and names their file if they do not fit.

        Raises:
            CheckpointError: the file is missing or damaged.
            CheckpointMismatchError: the network has other tensors, or sizes that contradict.
        """
        weights = self.weights(path)
        tensors = {key: tensor.to(self.device) for key, tensor in weights.tensors().items()}
        try:
            yield tensors
        except CheckpointMismatchError as error:
            raise CheckpointMismatchError(
                f"{weights.path} does not fit the sizes of its config.json, of config.yaml or the "
                f"public ones: {error}"
            ) from error
        except CONTRADICTIONS as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointMismatchError(
                f"no network has the sizes that config.json or config.yaml state for "
                f"{weights.path}: {reason}"
            ) from error

    def existing(self, path: Path) -> Path:
        """Returns the absolute path of a file of the layout.

        Raises:
            CheckpointError: it is missing.
        """
        file = self.place(path)
        if not file.is_file():
            raise CheckpointError(f"{file} is missing{self._unfinished(path)}: {self.fetch(path)}")
        return file

    def place(self, path: Path) -> Path:
        """Returns where a file or folder of the layout is; where it belongs if it is missing.

        Raises:
            CheckpointError: its folder is there several times.
        """
        name = next((each for each in FOLDERS if path.is_relative_to(each)), None)
        if name is None:
            return self.root / path
        return (self._folder(name) or self.root / name) / path.relative_to(name)

    def _folder(self, name: Path) -> Path | None:
        folder, repository = _published(name)
        return find_folder(self.root, name, repository, name.relative_to(folder))

    def _unfinished(self, path: Path) -> str:
        return unfinished(self.place(path), self.root / _published(path)[0])

    def fetch(self, path: Path) -> str:
        """Returns how to get a file of the layout, for errors."""
        folder, repository = _published(path)
        file, to = path.relative_to(folder), self.place(folder)
        return f"`hf download {repository} {file} --local-dir {to}` fetches it"

    @property
    def variant(self) -> Variant:
        """Which of the public models this is, by the tensors of its denoiser.

        Raises:
            CheckpointError: the denoiser's file is missing or damaged, belongs to neither, or
                there is one of each.
        """
        return self._denoiser[0]

    @property
    def denoiser(self) -> Path:
        """The denoiser's file, relative to the root; errors as for ``variant``."""
        return self._denoiser[1]

    @cached_property
    def _denoiser(self) -> tuple[Variant, Path]:
        known: list[tuple[Variant, Path]] = []
        unusable: list[CheckpointError] = []
        for path in (FLASH_DENOISER, DENOISER):
            if find_weights(self.place(path), self.fetch(path)) is not None:
                try:
                    known.append((self._variant_of(path), path))
                except CheckpointError as error:
                    unusable.append(error)
        fitting = [each for each in known if self.asked in (None, each[0])]
        if len(fitting) > 1:
            heard = [each for each in fitting if self._folder(AUDIO_ENCODERS[each[0]])]
            fitting = heard if len(heard) == 1 else fitting
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            both = " and ".join(f"{path.parent} ({variant})" for variant, path in fitting)
            raise CheckpointError(
                f"{self.root} holds two denoisers, {both}: --variant chooses, or remove one"
            )
        if unusable:
            raise unusable[0]
        usual = DENOISER if self.asked == "preview" else FLASH_DENOISER
        if known:
            raise CheckpointError(
                f"{self.root} holds the denoiser of {known[0][0]}, not of {self.asked}: "
                f"{self.fetch(usual)}"
            )
        raise CheckpointError(
            f"{self.root / DENOISER} is missing, and so is {self.root / FLASH_DENOISER}"
            f"{self._unfinished(usual)}: {self.fetch(usual)}"
        )

    def _variant_of(self, path: Path) -> Variant:
        weights = self.weights(path)
        try:
            return variant_of(weights.keys())
        except CheckpointMismatchError as error:
            raise CheckpointMismatchError(
                f"{weights.path}: {error}: {self.fetch(FLASH_DENOISER)}"
            ) from error

    @property
    def audio_encoder(self) -> Path:
        """The folder of Wav2Vec2, relative to the root.

        Raises:
            CheckpointError: it is missing.
        """
        folder = AUDIO_ENCODERS[self.variant]
        if self._folder(folder) is None:
            raise CheckpointError(
                f"{self.root / folder} is missing; the denoiser is that of {self.variant}: "
                f"{self.fetch(folder / AUDIO_ENCODER_WEIGHTS)}"
            )
        return folder

    @property
    def audio_encoder_weights(self) -> Path:
        """Wav2Vec2's file of weights, relative to the root."""
        safe = self.audio_encoder / SAFE_AUDIO_ENCODER_WEIGHTS
        known = find_weights(self.place(safe), self.fetch(safe))
        return self.audio_encoder / AUDIO_ENCODER_WEIGHTS if known is None else safe

    def digest(self) -> str:
        """Returns a name for these weights: of each file its path, length, beginning and end."""
        digest = hashlib.sha256()
        for path in self.networks.values():
            for weights in self.weights(path).files:
                with weights.open("rb") as file:
                    length = file.seek(0, 2)
                    digest.update(f"{path.with_name(weights.name)} {length}\n".encode())
                    for start in (0, max(0, length - DIGEST_BYTES)):
                        file.seek(start)
                        digest.update(file.read(DIGEST_BYTES))
        return digest.hexdigest()[:16]

    @property
    def networks(self) -> dict[str, Path]:
        """The files of weights by what they hold, relative to the root."""
        return {
            "denoiser": self.denoiser,
            "vae": VAE,
            "text_encoder": TEXT_ENCODER,
            "image_encoder": IMAGE_ENCODER,
            "audio_encoder": self.audio_encoder_weights,
        }

    @cached_property
    def config(self) -> dict[str, dict[str, Any]]:
        """The sections of config.yaml.

        Raises:
            CheckpointError: it is damaged, or has sections that are not known.
        """
        return read_config(self.root / CONFIG)


def _published(path: Path) -> tuple[Path, str]:
    """Returns which folder a path is in that is downloaded as a whole, and its repository."""
    return next(each for each in PUBLISHED if path.is_relative_to(each[0]))
