"""The prompts of a style bank, encoded by umT5 in torch."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.networks.text_encoder import text_encoder
from export.precision.policy import Precision
from server.animation.defaults import VARIANT_DEFAULTS
from server.animation.styles import NEGATIVE, STYLES
from server.animation.tokens import PromptTokenizer
from server.triton.contract import Variant

AUTHORS = "authors"
"""The name of the prompt that the variant's authors run it with."""


def bank(variant: Variant, more: Mapping[str, str]) -> dict[str, str]:
    """Returns the prompts of a bank by name: the authors' first, then ours, and more."""
    authors = VARIANT_DEFAULTS[variant]
    negative = {NEGATIVE: authors.negative_prompt} if authors.negative_prompt else {}
    return {AUTHORS: authors.prompt, **STYLES, **negative, **more}


def encode(
    checkpoint: Checkpoint, prompts: Mapping[str, str], precision: Precision
) -> dict[str, NDArray[np.float32]]:
    """Returns the encodings [tokens, text_width] of prompts by name.

    Raises:
        CheckpointError: umT5 or its tokenizer cannot be used.
    """
    tokenize = PromptTokenizer(checkpoint.existing(layout.TOKENIZER))
    module = text_encoder(checkpoint, precision).module
    encoded: dict[str, NDArray[np.float32]] = {}
    for name, prompt in prompts.items():
        token_ids, mask = (torch.from_numpy(array) for array in tokenize(prompt))
        count = int(mask.sum())
        with torch.inference_mode():
            text = module(token_ids[:, :count], mask[:, :count])
        encoded[name] = text[0].numpy()
    return encoded
