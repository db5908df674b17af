"""What a model repository holds: written by the export, read by the gateway at start."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from server.triton.contract import Variant, fingerprint

FORMAT = 3
"""Raised when an older gateway could no longer use what an export writes."""
FILE = "manifest.json"
TOKENIZER = "tokenizer.json"
CHECKPOINT_PARAMETER = "checkpoint_digest"
"""Where a network's config.pbtxt has the manifest's field of that name, so that Triton tells it."""


class ManifestError(Exception):
    """The repository cannot be served; the text is one line for the operator."""


class NetworkEntry(BaseModel):
    """One exported network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str
    precision: str


class Manifest(BaseModel):
    """The repository as a whole.

    Attributes:
        contract: the fingerprint of the networks, tensors and shapes that it was written for.
        sizes: (width, height); the first is the default.
        styles: prompts by name, the first of which is the default; none leaves default and names
            to the gateway. Without a text_encoder among the networks they are encoded in the
            repository, and there are no others.
        max_window_frames: the longest window that its engines take; None where any length goes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    variant: Variant
    contract: str
    checkpoint_digest: str
    networks: dict[str, NetworkEntry]
    sizes: tuple[tuple[int, int], ...]
    styles: dict[str, str] = {}
    max_window_frames: int | None = None
    tool_versions: dict[str, str]

    @property
    def precisions(self) -> dict[str, str]:
        """The precision of each network."""
        return {name: entry.precision for name, entry in self.networks.items()}

    @property
    def prompts(self) -> str:
        """What encodes prompts, in words for the operator."""
        entry = self.networks.get("text_encoder")
        if entry is None:
            return f"{len(self.styles)} styles encoded by the export"
        place = " on the CPU" if entry.precision == "int8" else ""
        return f"text_encoder, {entry.backend}, {entry.precision}{place}"


def read_manifest(repository: Path) -> Manifest:
    """Reads a repository's manifest.

    Raises:
        ManifestError: there is none, or this gateway cannot use it.
    """
    path = repository / FILE
    try:
        content = path.read_bytes()
        _check_format(path, content)
        manifest = Manifest.model_validate_json(content)
    except FileNotFoundError as error:
        raise ManifestError(
            f"{path} is missing; write the repository with "
            f"`python -m export onnx CHECKPOINT_DIR --repository {repository}`"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ManifestError(f"{path} cannot be used: {where}: {first['msg']}") from error
    if manifest.contract != fingerprint(manifest.variant):
        raise ManifestError(f"{path} is for other tensors than this gateway's; export again")
    return manifest


def _check_format(path: Path, content: bytes) -> None:
    """Says so first where the format is another: its fields may be, too."""
    found = _Format.model_validate_json(content).format
    if found != FORMAT:
        raise ManifestError(f"{path} has format {found}, this gateway reads {FORMAT}; export again")


class _Format(BaseModel):
    format: int
