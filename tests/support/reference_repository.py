"""The reference's weights as checkpoints in the public layout, exported for Triton.

Exporting takes minutes, so what comes out is kept below build/ while neither the weights nor the
export change.
"""

import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
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
from server.triton.contract import FACE_DETECTOR, NETWORKS, Variant
from tests.support.authors_networks import DENOISER_OF_WINDOWS, authors_networks
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
    kept = _kept()
    repository = kept / _name(variant, riflex)
    repository.mkdir(exist_ok=True)
    names = [name for name in NETWORKS[variant] if name != FACE_DETECTOR.name]
    if variant == "flash":
        names += authors_networks()
    exports = {
        network: kept / "exports" / _name(*_exported_as(variant, riflex, network)) / network
        for network in names
    }
    with _alone(kept):
        missing = {network: path for network, path in exports.items() if not path.is_dir()}
        # In processes of their own, since torch traces far slower under pytest's log capture.
        with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
            work = [pool.submit(_export, variant, riflex, *item) for item in missing.items()]
        for done in work:
            done.result()
        for network, path in exports.items():
            if not (repository / network).exists():
                (repository / network).symlink_to(path)
    return repository


def _export(variant: Variant, riflex: Riflex | None, network: str, target: Path) -> None:
    torch.set_num_threads(1)
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with TemporaryDirectory() as folder:
        checkpoint = reference_checkpoint(variant, Path(folder))
        builds = networks(checkpoint, riflex=riflex)
        described, build = (
            (NETWORKS[variant][network], builds[network])
            if network in builds
            else authors_networks(riflex)[network]
        )
        export_network(build(checkpoint), partial, _ignore)
    write_config(described, partial, Workload(variant, [(64, 64)], WINDOWS))
    partial.rename(target)


def _exported_as(
    variant: Variant, riflex: Riflex | None, network: str
) -> tuple[Variant, Riflex | None]:
    """Returns the repository whose network is the same: most exports differ in few of them."""
    if variant == "preview" and network in SHARED:
        return "flash", None
    return variant, riflex if network in ("denoiser", DENOISER_OF_WINDOWS.name) else None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps the tests of other processes out."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
    for module in ("export.repository.exporter", "tests.support.authors_networks"):
        digest.update(sources.digest(module).encode())
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


def _ignore(stage: str, *, result: bool = False) -> None:
    """A report that nobody reads."""
