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
import shlex
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from export.checkpoint.errors import (
    CheckpointError,
    CheckpointMismatchError,
    DamagedError,
    MissingError,
)
from export.checkpoint.folders import Folder
from export.checkpoint.sizes import read_config, sizes_of
from export.checkpoint.tensor_file import check_fetched
from export.checkpoint.variant import variant_of
from export.checkpoint.weights import WeightFile, find_weights
from server.triton.contract import Variant

BASE = Path("Wan2.1-Fun-V1.1-1.3B-InP")
CONFIG = Path("config.yaml")
WEIGHTS = "diffusion_pytorch_model.safetensors"
DENOISER, FLASH_DENOISER = Path("transformer", WEIGHTS), Path("echomimicv3-flash-pro", WEIGHTS)
DENOISERS: Mapping[Variant, Path] = {"flash": FLASH_DENOISER, "preview": DENOISER}
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
UNPUBLISHED = AUDIO_ENCODERS["flash"] / SAFE_AUDIO_ENCODER_WEIGHTS
"""It goes before the published file, so that fetching that one alone would not help."""
OF_ECHOMIMIC = "BadToBest/EchoMimicV3"
FOLDERS = (
    Folder(BASE, "alibaba-pai/Wan2.1-Fun-V1.1-1.3B-InP", Path()),
    Folder(AUDIO_ENCODERS["flash"], "TencentGameMate/chinese-wav2vec2-base", Path()),
    Folder(AUDIO_ENCODERS["preview"], "facebook/wav2vec2-base-960h", Path()),
    Folder(FLASH_DENOISER.parent, OF_ECHOMIMIC, FLASH_DENOISER.parent),
    Folder(DENOISER.parent, OF_ECHOMIMIC, DENOISER.parent),
)
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
            raise self._missing(path, "is missing, whole, in shards or pickled")
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
                f"{weights.path} does not fit the sizes of {self._sizes_of(path)}: {error}"
            ) from error
        except CONTRADICTIONS as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointMismatchError(
                f"no network has the sizes of {self._sizes_of(path)} for {weights.path}: {reason}"
            ) from error

    def existing(self, path: Path) -> Path:
        """Returns the absolute path of a file of the layout.

        Raises:
            CheckpointError: it is missing.
        """
        file = self.place(path)
        if not file.is_file():
            raise self._missing(path, "is missing")
        return file

    def place(self, path: Path) -> Path:
        """Returns where a file or folder of the layout is; where it belongs if it is missing.

        Raises:
            CheckpointError: its folder is there several times.
        """
        folder = _folder(path)
        found = folder.find(self.root) or self.root / folder.name
        return found / path.relative_to(folder.name)

    def fetch(self, path: Path) -> str:
        """Returns how to get a file of the layout, for errors."""
        if path == UNPUBLISHED:
            published = path.with_name(AUDIO_ENCODER_WEIGHTS)
            return f"remove it, since {published.name} was published: {self.fetch(published)}"
        folder = _folder(path)
        file = folder.inside / path.relative_to(folder.name)
        to = self.root if folder.inside.parts else self.place(folder.name)
        command = f"hf download {folder.repository} {file} --local-dir {shlex.quote(str(to))}"
        return f"`{command}` fetches it"

    def _missing(self, path: Path, how: str) -> CheckpointError:
        file, folder = self.place(path), _folder(path)
        part = folder.unfinished(self.root, path.relative_to(folder.name))
        if file.is_symlink():
            how += " (a link to a file that is not there)"
        elif part is not None:
            how += f" (an unfinished download is there, {part})"
        error = MissingError if part is None else DamagedError
        return error(f"{file} {how}: {self.fetch(path)}")

    def _sizes_of(self, path: Path) -> str:
        """Returns where the sizes of a network stand, for errors."""
        changed = f"{self.root / CONFIG} or the public ones"
        name = _folder(path).name
        if name == BASE:
            return changed
        own = DENOISER_CONFIG if path in DENOISERS.values() else name / "config.json"
        return f"{self.place(own)}, {changed}"

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
        known: dict[Path, tuple[Variant, Path]] = {}
        problems: dict[Path, CheckpointError] = {}
        for path in (FLASH_DENOISER, DENOISER):
            try:
                weights = self.weights(path)
                # One may be a link to the other.
                known.setdefault(weights.path.resolve(), (self._variant_of(weights), path))
            except MissingError:
                continue
            except CheckpointError as error:
                problems[path] = error
        fitting = [each for each in known.values() if self.asked in (None, each[0])]
        if len(fitting) > 1:
            heard = [each for each in fitting if self._hears(each[0])]
            fitting = heard if len(heard) == 1 else fitting
        if len(fitting) == 1:
            self._check_choice(fitting[0][0], problems)
            return fitting[0]
        if fitting:
            both = " and ".join(f"{path.parent} ({variant})" for variant, path in fitting)
            choose = "--variant chooses, or " if len({each[0] for each in fitting}) > 1 else ""
            raise CheckpointError(f"{self.root} holds two denoisers, {both}: {choose}remove one")
        raise self._no_denoiser([variant for variant, _ in known.values()], problems)

    def _check_choice(self, variant: Variant, problems: Mapping[Path, CheckpointError]) -> None:
        """Refuses to take a denoiser, unasked, only since the download of the other one failed."""
        for other, path in DENOISERS.items():
            problem = problems.get(path)
            if self.asked is None and isinstance(problem, DamagedError) and self._hears(other):
                raise DamagedError(f"{problem}; --variant {variant} takes the other denoiser")

    def _no_denoiser(
        self, known: Sequence[Variant], problems: Mapping[Path, CheckpointError]
    ) -> CheckpointError:
        """Returns what is said where no denoiser fits."""
        usual = self._usual
        if problem := problems.get(usual) or problems.get(DENOISER):
            return problem
        if known:
            return CheckpointError(
                f"{self.root} holds the denoiser of {known[0]}, not of {self.asked}: "
                f"{self.fetch(usual)}"
            )
        others = "" if usual == DENOISER else f", and so is {self.root / usual}"
        return MissingError(f"{self.root / DENOISER} is missing{others}: {self.fetch(usual)}")

    @property
    def _usual(self) -> Path:
        return DENOISERS[self.asked or "flash"]

    def _hears(self, variant: Variant) -> bool:
        return _folder(AUDIO_ENCODERS[variant]).find(self.root) is not None

    def _variant_of(self, weights: WeightFile) -> Variant:
        try:
            return variant_of(weights.keys())
        except CheckpointMismatchError as error:
            raise CheckpointMismatchError(
                f"{weights.path}: {error}: {self.fetch(self._usual)}"
            ) from error

    @property
    def audio_encoder(self) -> Path:
        """The folder of Wav2Vec2, relative to the root.

        Raises:
            CheckpointError: it is missing.
        """
        folder = AUDIO_ENCODERS[self.variant]
        if not self._hears(self.variant):
            raise MissingError(
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


def _folder(path: Path) -> Folder:
    """Returns the folder that a file or folder of the layout is in."""
    return next(folder for folder in FOLDERS if path.is_relative_to(folder.name))
