"""Prompts that were encoded when the repository was written, so that umT5 need not be served.

umT5 takes 11 GB in 16 bits, which a card of 12 GB does not have; a prompt's encoding takes 300 kB.
"""

from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from server.arrays import FloatArray
from server.manifest import Manifest, ManifestError
from server.triton.contract import TEXT_STEP

FILE = "styles.npz"
NEGATIVE = "negative"
"""The name of the negative prompt among the styles of a repository."""
STYLES: Mapping[str, str] = {
    "cinematic": "cinematic portrait, soft studio key light, shallow depth of field, filmic color",
    "professional": "professional headshot, even soft light, neutral background, sharp focus",
    "artistic": "artistic portrait, painterly light, rich colors, soft edges",
    "natural": "natural portrait, daylight, true colors, a person is speaking",
}
"""Prompts that have names, where a repository states none of its own."""


def write_styles(path: Path, encoded: Mapping[str, FloatArray]) -> None:
    """Writes encodings [tokens, text_width] by their styles' names, without what is masked."""
    np.savez(path, allow_pickle=False, **encoded)


def encoded_prompts(repository: Path, manifest: Manifest) -> dict[str, FloatArray]:
    """Returns the encodings [1, tokens, text_width] that a repository holds by their prompts.

    One that serves umT5 holds none.

    Raises:
        ManifestError: the file does not hold what the manifest states.
    """
    if "text_encoder" in manifest.networks or not manifest.styles:
        return {}
    path = repository / FILE
    try:
        # Opened here, since NumPy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as encoded:
            return {prompt: _padded(encoded[name]) for name, prompt in manifest.styles.items()}
    # What a damaged file raises has no common type.
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ManifestError(f"{path} cannot be used: {error}; export again") from error


def _padded(text: FloatArray) -> FloatArray:
    return np.pad(text, ((0, -len(text) % TEXT_STEP), (0, 0)))[None]
