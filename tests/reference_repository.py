"""The reference's weights as checkpoints in the public layout, exported for Triton.

Exporting takes minutes, so what comes out is kept below build/ while neither the weights nor the
export change.
"""

import hashlib
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from export import checkpoint as layout
from export.checkpoint import Checkpoint
from export.denoiser_config import Riflex
from export.networks import networks
from export.to_onnx import export_network
from server.contract import Variant
from tests.reference import ReferenceFixture, reference_fixture

ROOT = Path(__file__).parents[1]
SHARED = ("image_encoder", "text_encoder", "vae_encoder", "vae_decoder")
"""Networks that both variants have with the same weights."""


def reference_checkpoint(variant: Variant, root: Path) -> Checkpoint:
    """Writes the reference's weights as people download them."""
    audio = reference_fixture(f"audio_{variant}")
    folder = layout.AUDIO_ENCODERS[variant]
    for path in (folder, layout.BASE, layout.DENOISER.parent):
        (root / path).mkdir(parents=True, exist_ok=True)
    denoiser = reference_fixture(f"denoiser_{variant}")
    _save_json(root / layout.DENOISER_CONFIG, denoiser.config["transformer"])
    save_file(_tensors(denoiser), root / layout.DENOISER)
    _save_json(root / folder / "config.json", _wav2vec2_config(audio))
    torch.save(_tensors(audio), root / folder / layout.AUDIO_ENCODER_WEIGHTS[1])
    sizes: dict[str, Any] = {}
    for name, path, section in (
        ("vae", layout.VAE, "vae_kwargs"),
        ("image_encoder", layout.IMAGE_ENCODER, "image_encoder_kwargs"),
        ("text_encoder", layout.TEXT_ENCODER, "text_encoder_kwargs"),
    ):
        fixture = reference_fixture(name)
        torch.save(_tensors(fixture), root / path)
        sizes[section] = fixture.config["model"]
    (root / layout.CONFIG).write_text(yaml.safe_dump(sizes))
    return Checkpoint(root)


@cache
def reference_repository(variant: Variant, riflex: Riflex | None = None) -> Path:
    """Returns a model repository of the reference's weights, exported now if need be."""
    name = variant if riflex is None else f"{variant}_riflex_{riflex.k}_{riflex.latent_frames}"
    repository = _kept() / name
    if repository.is_dir():
        return repository
    partial = repository.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    checkpoint = reference_checkpoint(variant, partial / "checkpoint")
    # RIFLEx changes the denoiser alone, and preview differs in what hears.
    other = None if name == "flash" else reference_repository("flash")
    same = ("audio_encoder", *SHARED) if riflex and variant == "flash" else SHARED
    for network, build in networks(checkpoint, riflex).items():
        if other is not None and network in same:
            shutil.copytree(other / network, partial / "models" / network)
        else:
            export_network(build(checkpoint), partial / "models" / network, _quiet)
    (partial / "models").rename(repository)
    shutil.rmtree(partial)
    return repository


def _kept() -> Path:
    """Returns the folder of what these weights and this export make."""
    digest = hashlib.sha256()
    folders = ("vae", "image_encoder", "text_encoder")
    folders += ("denoiser_flash", "denoiser_preview", "audio_flash", "audio_preview")
    for fixture in map(reference_fixture, folders):
        digest.update((fixture.folder / "weights.safetensors").read_bytes())
        digest.update((fixture.folder / "config.json").read_bytes())
    for source in (*sorted((ROOT / "export").rglob("*.py")), ROOT / "server" / "contract.py"):
        digest.update(source.read_bytes())
    folder = ROOT / "build" / "reference" / digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _wav2vec2_config(audio: ReferenceFixture) -> dict[str, Any]:
    if "variants" in audio.config:
        return audio.config["variants"]["group"]["wav2vec2_config"]
    return audio.config["wav2vec2_config"]


def _tensors(fixture: ReferenceFixture) -> dict[str, Tensor]:
    return {key: torch.from_numpy(array) for key, array in fixture.weights().items()}


def _save_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content))


def _quiet(stage: str, *, result: bool = False) -> None:
    """Reports nothing."""
