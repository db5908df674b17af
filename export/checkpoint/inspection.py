"""What a checkpoint folder holds, found out without reading its weights."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from export.checkpoint import layout
from export.checkpoint.errors import (
    CheckpointError,
    CheckpointMismatchError,
    CheckpointProblemsError,
)
from export.checkpoint.layout import Checkpoint
from export.checkpoint.tensor_file import check_fetched
from export.models.text_encoder import PUBLIC_SIZES
from export.networks.catalogue import BUILDS
from export.networks.denoiser import denoiser_config
from export.networks.image_encoder import image_encoder
from export.networks.text_encoder import text_encoder
from export.networks.vae import wan_vae
from server.triton.contract import AUDIO_LAYERS


@dataclass(frozen=True, slots=True)
class Found:
    """One network's file of weights."""

    network: str
    files: tuple[Path, ...]
    dtypes: tuple[str, ...]
    """The most frequent first."""
    tensors: int
    parameters: int
    size_bytes: int


def found_networks(checkpoint: Checkpoint) -> list[Found]:
    """Returns what is found, the largest first.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    found = [_found(checkpoint, name, path) for name, path in checkpoint.networks.items()]
    return sorted(found, key=lambda network: -network.size_bytes)


def _found(checkpoint: Checkpoint, network: str, path: Path) -> Found:
    weights = checkpoint.weights(path)
    tensors = weights.tensors().values()
    dtypes: Counter[str] = Counter()
    for tensor in tensors:
        dtypes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    return Found(
        network=network,
        files=tuple(file.relative_to(checkpoint.root) for file in weights.files),
        dtypes=tuple(dtype for dtype, _ in dtypes.most_common()),
        tensors=len(tensors),
        parameters=sum(dtypes.values()),
        size_bytes=sum(file.stat().st_size for file in weights.files),
    )


Examine = Callable[[Checkpoint], object]


def check(checkpoint: Checkpoint) -> None:
    """Finds all that can be found without reading weights, by building each network without any.

    Raises:
        CheckpointProblemsError: something is wrong; a line for each thing.
    """
    outline = replace(checkpoint, device="meta")
    examinations: tuple[Examine, ...] = (
        lambda outline: outline.config,
        lambda outline: BUILDS[outline.variant]["denoiser"](outline),
        _check_hearing,
        image_encoder,
        text_encoder,
        # Its halves look at values.
        wan_vae,
        _check_pre_training,
        _check_tokenizer,
    )
    problems: dict[str, None] = {}
    for examine in examinations:
        try:
            examine(outline)
        except CheckpointError as error:
            problems[str(error)] = None
    if problems:
        raise CheckpointProblemsError(list(problems))


def _check_hearing(checkpoint: Checkpoint) -> None:
    """Builds Wav2Vec2, of which others have other sizes and load as well, by their own config."""
    variant = checkpoint.variant
    built: Any = BUILDS[variant]["audio_encoder"](checkpoint).module
    config = built.wav2vec2.config
    width = denoiser_config(checkpoint).audio_dim
    # Preview hears the last layer alone.
    layers = AUDIO_LAYERS if variant == "flash" else config.num_hidden_layers
    if (config.hidden_size, config.num_hidden_layers) != (width, layers):
        path = checkpoint.audio_encoder_weights
        raise CheckpointMismatchError(
            f"{checkpoint.place(path)} holds a Wav2Vec2 of {config.num_hidden_layers} layers, "
            f"{config.hidden_size} wide; the denoiser hears one of {layers} layers, {width} wide: "
            f"{checkpoint.fetch(path)}"
        )


def _check_pre_training(checkpoint: Checkpoint) -> None:
    """Tells Wav2Vec2 as it was pre-trained, which flash hears with, from one that reads letters.

    Their encoders have the same tensors; what lies beside them differs, if it was kept. The other
    one makes other pictures, without an error.
    """
    path = checkpoint.audio_encoder_weights
    weights = checkpoint.weights(path)
    names = weights.tensors().keys()
    reads = any(name.startswith("lm_head.") for name in names)
    quantizes = any(name.startswith("quantizer.") for name in names)
    if checkpoint.variant == "flash":
        wrong, what = reads, "was fine-tuned to read letters, as facebook/wav2vec2-base-960h was"
    else:
        wrong, what = quantizes and not reads, "was pre-trained only, as facebook/wav2vec2-base was"
    if wrong:
        raise CheckpointError(
            f"{weights.path} holds a Wav2Vec2 that {what}; {checkpoint.variant} hears with another "
            f"one: {checkpoint.fetch(path)}"
        )


def _check_tokenizer(checkpoint: Checkpoint) -> None:
    file = checkpoint.existing(layout.TOKENIZER)
    check_fetched(file, checkpoint.fetch(layout.TOKENIZER))
    try:
        tokens = Tokenizer.from_str(file.read_text("utf-8-sig")).get_vocab_size()
    # The library raises nothing more special.
    except Exception as error:
        raise CheckpointError(f"{file} is no tokenizer: {error}") from error
    rows = checkpoint.sizes("text_encoder_kwargs", PUBLIC_SIZES)["vocab"]
    if tokens > rows:
        raise CheckpointError(f"{file} has {tokens} tokens; the text encoder knows {rows}")
