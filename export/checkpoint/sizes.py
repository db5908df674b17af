"""Sizes that differ from the public ones, as config.yaml and config.json state them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from export.checkpoint.errors import CheckpointError, CheckpointMismatchError

SECTIONS = ("vae_kwargs", "text_encoder_kwargs", "image_encoder_kwargs")
OF_THE_AUTHORS = ("format", "pipeline", "transformer_additional_kwargs", "scheduler_kwargs")
"""What the authors' own config.yaml has beside them: nothing that a checkpoint decides."""
FIXED: Mapping[str, object] = {
    "temporal_compression_ratio": 4,
    "spatial_compression_ratio": 8,
    "text_length": 512,
    "shared_pos": False,
    "dropout": 0.0,
    "activation": "gelu",
    "vision_pool": "token",
    "vae_subpath": "Wan2.1_VAE.pth",
    "text_encoder_subpath": "models_t5_umt5-xxl-enc-bf16.pth",
    "tokenizer_subpath": "google/umt5-xxl",
    "image_encoder_subpath": "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
}
"""What it has in these sections: every checkpoint's is the same."""
UNUSED = frozenset(
    {
        *("embed_dim", "pad_id", "type_size", "vocab_size", "max_text_len"),
        *("text_dim", "text_heads", "text_layers", "text_post_norm", "text_dropout"),
        *("attn_dropout", "proj_dropout", "embedding_dropout"),
    }
)
"""Of the authors' CLIP, what its text tower and its training take: no part of the image encoder."""


def read_config(path: Path) -> dict[str, dict[str, Any]]:
    """Returns the sections of a config.yaml by name; none where there is no file.

    Raises:
        CheckpointError: it is damaged, or has sections that are not known.
    """
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError) as error:
        raise CheckpointError(f"{path} is no YAML file: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not sections by name")
    if unknown := [str(key) for key in content if key not in (*SECTIONS, *OF_THE_AUTHORS)]:
        raise CheckpointError(
            f"{path} has sections that are not known: {', '.join(unknown)}; "
            f"sizes stand in {', '.join(SECTIONS)}"
        )
    sections = {name: content[name] or {} for name in SECTIONS if name in content}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise CheckpointError(f"{path}: {name} is {section!r}, not sizes by name")
    return sections


def sizes_of(
    config: Mapping[str, Mapping[str, Any]], section: str, public: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """Returns public sizes as a section of config.yaml changes them.

    Raises:
        CheckpointError: the section states what is no size of the network.
    """
    sizes, problems = dict(public), []
    for name, value in config.get(section, {}).items():
        where = f"{section}.{name}"
        if name in public:
            try:
                sizes[name] = _like(public[name], value, where)
            except CheckpointMismatchError as error:
                problems.append(str(error))
        elif name in UNUSED:
            continue
        elif name not in FIXED:
            problems.append(f"{where} is not known; sizes are {', '.join(public)}")
        elif value != FIXED[name]:
            problems.append(f"{where} is {value!r}; only {FIXED[name]!r} is supported")
    if problems:
        raise CheckpointError(f"{path}: {'; '.join(problems)}")
    return sizes


def _like(public: object, value: Any, where: str) -> Any:
    if not isinstance(public, list):
        return whole_number(value, where)
    if not isinstance(value, list):
        raise CheckpointMismatchError(f"{where} is {value!r}, not a list")
    return [each if isinstance(each, bool) else whole_number(each, where) for each in value]


def whole_number(value: Any, where: str) -> int:
    """Returns a size, which may be written as text or with a fraction of zero.

    Raises:
        CheckpointMismatchError: it is none.
    """
    number = positive_number(value, where)
    if number != int(number):
        raise CheckpointMismatchError(f"{where} is {value!r}, not a whole number")
    return int(number)


def positive_number(value: Any, where: str) -> float:
    """Returns a number above zero, which may be written as text.

    Raises:
        CheckpointMismatchError: it is none.
    """
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if 0 < number < float("inf"):
            return number
    raise CheckpointMismatchError(f"{where} is {value!r}, not a number above zero")
