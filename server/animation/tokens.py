"""Prompts to umT5's token ids."""

# The library's own annotations are partial.
# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from server.triton.contract import TEXT_TOKENS

PAD_ID = 0

Tokenize = Callable[[str], tuple[NDArray[np.int64], NDArray[np.int64]]]
"""A prompt to token ids and mask, [1, 512] each."""


class PromptTokenizer:
    """Tokenises prompts as the authors do: 512 ids, cut or padded, with a mask."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = Tokenizer.from_str(path.read_text("utf-8-sig"))
        self._tokenizer.enable_truncation(TEXT_TOKENS)
        self._tokenizer.enable_padding(length=TEXT_TOKENS, pad_id=PAD_ID)

    def __call__(self, prompt: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns token ids and mask, [1, 512] each."""
        encoding = self._tokenizer.encode(prompt)
        token_ids = np.array([encoding.ids], np.int64)
        return token_ids, np.array([encoding.attention_mask], np.int64)
