"""The reference's weights as checkpoints in the public layout, exported for Triton.

Exporting takes minutes, so what comes out is kept below build/ while neither the weights nor the
export change.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from export import sources
from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.models.denoiser.config import Riflex
from export.networks.catalogue import networks
from export.repository.exporter import export_network, write_config
from export.tensorrt.profiles import WINDOWS, Workload
from server.triton.contract import NETWORKS, Variant
from tests.support.paths import ROOT
from tests.support.reference import ReferenceFixture, reference_fixture

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
    torch.save(_tensors(audio), root / folder / layout.AUDIO_ENCODER_WEIGHTS)
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


def reference_repository(variant: Variant, riflex: Riflex | None = None) -> Path:
    """Returns a model repository of the reference's weights, exported now if need be."""
    repository = _kept() / _name(variant, riflex)
    if not repository.is_dir():
        # In a process of its own, since torch traces far slower under pytest's log capture.
        options = [] if riflex is None else [str(riflex.k), str(riflex.latent_frames)]
        command = [sys.executable, "-m", "tests.support.reference_repository", variant, *options]
        subprocess.run(command, cwd=ROOT, check=True)
    return repository


def _export(variant: Variant, riflex: Riflex | None, repository: Path) -> None:
    partial = repository.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    checkpoint = reference_checkpoint(variant, partial / "checkpoint")
    for network, build in networks(checkpoint, riflex=riflex).items():
        finished = _finished(variant, riflex, network)
        if finished is not None:
            shutil.copytree(finished / network, partial / "models" / network)
        else:
            export_network(build(checkpoint), partial / "models" / network, _report)
            workload = Workload(variant, [(64, 64)], WINDOWS)
            write_config(NETWORKS[variant][network], partial / "models" / network, workload)
    (partial / "models").rename(repository)
    shutil.rmtree(partial)


def _finished(variant: Variant, riflex: Riflex | None, network: str) -> Path | None:
    """Returns a repository whose network is the same: most exports differ in few of them."""
    if riflex is not None and network != "denoiser":
        return reference_repository(variant)
    if variant == "preview" and network in SHARED:
        return reference_repository("flash")
    return None


def _name(variant: Variant, riflex: Riflex | None) -> str:
    return variant if riflex is None else f"{variant}_riflex_{riflex.k}_{riflex.latent_frames}"


def _kept() -> Path:
    """Returns the folder of what these weights and this export make."""
    digest = hashlib.sha256()
    folders = ("vae", "image_encoder", "text_encoder")
    folders += ("denoiser_flash", "denoiser_preview", "audio_flash", "audio_preview")
    for fixture in map(reference_fixture, folders):
        digest.update((fixture.folder / "weights.safetensors").read_bytes())
        digest.update((fixture.folder / "config.json").read_bytes())
    digest.update(sources.digest("export.repository.exporter").encode())
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


def _report(stage: str, *, result: bool = False) -> None:
    print(stage, flush=True)


if __name__ == "__main__":
    asked: Variant = "flash" if sys.argv[1] == "flash" else "preview"
    changed = Riflex(*map(int, sys.argv[2:])) if sys.argv[2:] else None
    _export(asked, changed, _kept() / _name(asked, changed))
