"""What a model repository holds: written by the export, read by the gateway at start."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from server.contract import Variant

FORMAT = 2
"""Raised when an older gateway could no longer use what an export writes."""
FILE = "manifest.json"
TOKENIZER = "tokenizer.json"


class ManifestError(Exception):
    """The repository cannot be served; the text is one line for the operator."""


class NetworkEntry(BaseModel):
    """One exported network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str
    precision: str


class Manifest(BaseModel):
    """The repository as a whole. Sizes are (width, height); the first is the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    variant: Variant
    checkpoint_digest: str
    networks: dict[str, NetworkEntry]
    sizes: tuple[tuple[int, int], ...]
    tool_versions: dict[str, str]


def read_manifest(repository: Path) -> Manifest:
    """Reads a repository's manifest.

    Raises:
        ManifestError: there is none, or this gateway cannot use it.
    """
    path = repository / FILE
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ManifestError(
            f"{path} is missing; write the repository with "
            f"`python -m export onnx CHECKPOINT_DIR --repository {repository}`"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ManifestError(f"{path} cannot be used: {where}: {first['msg']}") from error
    if manifest.format != FORMAT:
        raise ManifestError(
            f"{path} has format {manifest.format}, this gateway reads {FORMAT}; export again"
        )
    return manifest
