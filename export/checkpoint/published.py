"""Tiny checkpoints laid out as whole repositories are downloaded, and as people repackage them.

Beside what an export reads lie the files that come with it: model cards, settings of other
programs, the base's own denoiser.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from export.checkpoint import layout
from export.checkpoint.tiny import make_tiny
from export.checkpoint.weights import INDEX
from server.triton.contract import Variant

Form = Literal["published", "safetensors", "shards", "legacy", "module"]
"""How the files of the base are packed: as published (pickles); as safetensors under the same stem;
those in two shards; as pickles of before torch 1.6, which are no archives; with names that begin
with `module.`."""

DENOISERS: Mapping[Variant, Path] = {
    "flash": layout.FLASH_DENOISER,
    "preview": layout.DENOISER,
}
"""Where the repository of EchoMimic V3 has them."""
MADE = layout.DENOISER
"""Where `make_tiny` puts either."""
BASE_WEIGHTS = (layout.VAE, layout.TEXT_ENCODER, layout.IMAGE_ENCODER)
CARDS = (".gitattributes", "README.md")
OTHERS: Mapping[Path, tuple[str, ...]] = {
    Path(): CARDS,
    layout.BASE: (*CARDS, "LICENSE.txt", "README_en.md", "configuration.json"),
    layout.AUDIO_ENCODERS["flash"]: (*CARDS, "preprocessor_config.json"),
    layout.AUDIO_ENCODERS["preview"]: (*CARDS, "preprocessor_config.json", "vocab.json"),
    layout.DENOISER.parent: ("config.json",),
}
"""Files by folder that an export has no use for."""


def make_published(
    root: Path, *, seed: int, variants: Iterable[Variant], form: Form = "published"
) -> None:
    """Writes the folders of one variant or of both, beside each other.

    Args:
        root: the folder; files in it are replaced.
        seed: of the weights.
        variants: which.
        form: how the files of the base are packed.
    """
    made: dict[Variant, Path] = {}
    for variant in variants:
        make_tiny(root, seed=seed, variant=variant)
        made[variant] = (root / MADE).rename(root / f"{variant}.safetensors")
    shutil.rmtree((root / MADE).parent)
    for variant, weights in made.items():
        (root / DENOISERS[variant]).parent.mkdir(parents=True, exist_ok=True)
        weights.rename(root / DENOISERS[variant])
    _add_others(root)
    for path in BASE_WEIGHTS:
        FORMS[form](root / path)


def _add_others(root: Path) -> None:
    for folder, names in OTHERS.items():
        if (root / folder).is_dir():
            for name in names:
                (root / folder / name).write_text("{}\n")
    base = {"patch_embedding.weight": torch.zeros(1), "head.head.weight": torch.zeros(1)}
    save_file(base, root / layout.BASE / layout.WEIGHTS)


def _as_safetensors(file: Path) -> None:
    save_file(_tensors(file), file.with_suffix(".safetensors"))
    file.unlink()


def _in_shards(file: Path) -> None:
    tensors = _tensors(file)
    names = sorted(tensors)
    shards: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"{file.stem}-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, file.with_name(shard))
        shards |= dict.fromkeys(part, shard)
    index = file.with_name(f"{file.stem}.safetensors{INDEX}")
    index.write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    file.unlink()


def _legacy(file: Path) -> None:
    tensors = _tensors(file)
    torch.save(tensors, file.with_suffix(".bin"), _use_new_zipfile_serialization=False)
    file.unlink()


def _module(file: Path) -> None:
    torch.save({f"module.{name}": tensor for name, tensor in _tensors(file).items()}, file)


def _tensors(file: Path) -> dict[str, Tensor]:
    return torch.load(file, weights_only=True)


FORMS: Mapping[Form, Callable[[Path], None]] = {
    "published": lambda _: None,
    "safetensors": _as_safetensors,
    "shards": _in_shards,
    "legacy": _legacy,
    "module": _module,
}
