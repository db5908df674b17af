"""What the denoiser is told besides the speech: who it is, what is known already, and the prompt.

picture -> CLIP -> image tokens                prompt -> umT5 -> text
known frames, grey elsewhere -> VAE -> latents, below the mask of what is known -> condition
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from server.animation.cache import ByteCache, Hold
from server.animation.tokens import Tokenize
from server.arrays import FloatArray
from server.pictures.portrait import Picture
from server.triton.contract import (
    FRAMES_PER_LATENT,
    IMAGE_ENCODER,
    MASK_CHANNELS,
    TEXT_ENCODER,
    TEXT_STEP,
    VAE_ENCODER,
    latent_frames,
)
from server.triton.engine import Engine, Priority

Pictures = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Avatar:
    """A portrait and a prompt, encoded. What a stream keeps the same from window to window."""

    picture: Picture
    image_tokens: FloatArray
    """[1, 257, image_width]"""
    text: FloatArray
    """[1, tokens, text_width], TEXT_TOKENS or fewer"""
    negative_text: FloatArray | None = None
    """[1, tokens, text_width], where the guidance has a negative branch."""


class Conditioner:
    """Encodes portraits, prompts and known frames for one stream, which holds what it uses.

    What many streams share is remembered.
    """

    def __init__(
        self,
        engine: Engine,
        tokenize: Tokenize,
        cache: ByteCache,
        encoded: Mapping[str, FloatArray] = MappingProxyType({}),
    ) -> None:
        """Begins with nothing remembered.

        Args:
            engine: runs the networks.
            tokenize: prompts to umT5's tokens.
            cache: for what many streams share.
            encoded: prompts that umT5 need not encode, [1, tokens, text_width] each.
        """
        self._engine = engine
        self._tokenize = tokenize
        self._cache = cache
        self._hold = Hold(cache)
        self._encoded = encoded

    def for_stream(self) -> "Conditioner":
        """Returns a conditioner for another stream, which remembers and holds the same."""
        other = Conditioner(self._engine, self._tokenize, self._cache, self._encoded)
        other._hold = self._hold.copy()
        return other

    def through(self, engine: Engine) -> "Conditioner":
        """Returns this stream's conditioner, which runs the networks on another engine."""
        other = Conditioner(engine, self._tokenize, self._cache, self._encoded)
        other._hold = self._hold
        return other

    async def avatar(
        self,
        picture: Picture,
        prompt: str,
        negative_prompt: str | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> Avatar:
        """Encodes a portrait, uint8 [height, width, 3] of the output size, and the prompts."""
        return Avatar(
            picture,
            await self._image_tokens(picture, priority),
            await self._text("text", prompt, priority),
            None
            if negative_prompt is None
            else await self._text("negative_text", negative_prompt, priority),
        )

    async def first_window(
        self, picture: Picture, frames: int, priority: Priority = Priority.NORMAL
    ) -> FloatArray:
        """Returns the condition of a window that begins with the portrait, cached."""
        key = ("first_window", frames, *await _identity(picture))

        async def encode() -> FloatArray:
            return await self.window(picture[None], frames, priority)

        return await self._hold.get("first_window", key, encode)

    async def window(
        self, known: Pictures, frames: int, priority: Priority = Priority.NORMAL
    ) -> FloatArray:
        """Returns the condition [1, 20, T, h, w] of a window whose first frames are known.

        Args:
            known: uint8 [k, height, width, 3], 1 <= k <= frames.
            frames: frames of the window.
            priority: of the executions.
        """
        # Unknown frames are mid-grey, as the authors feed them to the VAE.
        grey = np.zeros((1, frames - len(known)), np.float32)
        inputs = {"known": known[None], "grey": grey}
        encoded = await self._engine.run(VAE_ENCODER, inputs, priority=priority)
        return await asyncio.to_thread(_masked, encoded["latents"], len(known), frames)

    async def _image_tokens(self, picture: Picture, priority: Priority) -> FloatArray:
        async def encode() -> FloatArray:
            inputs = {"image": picture[None]}
            return (await self._engine.run(IMAGE_ENCODER, inputs, priority=priority))[
                "image_tokens"
            ]

        key = ("image_tokens", *await _identity(picture))
        return await self._hold.get("image_tokens", key, encode)

    async def _text(self, use: str, prompt: str, priority: Priority) -> FloatArray:
        async def encode() -> FloatArray:
            token_ids, mask = self._tokenize(prompt)
            inputs = {"token_ids": token_ids, "mask": mask}
            result = await self._engine.run(TEXT_ENCODER, inputs, priority=priority)
            return await asyncio.to_thread(trimmed, result["text"])

        if prompt in self._encoded:
            return self._encoded[prompt]
        return await self._hold.get(use, ("text", prompt), encode)


def trimmed(text: FloatArray) -> FloatArray:
    """Returns an encoded prompt [1, tokens, width] without the zeros behind it.

    The denoiser takes what is missing for zeros. What is left is a multiple of ``TEXT_STEP`` long.
    """
    visible = np.flatnonzero(text[0].any(axis=1))
    last = int(visible[-1]) if len(visible) else 0
    return text[:, : (last // TEXT_STEP + 1) * TEXT_STEP].copy()


def fold_mask(known: int, frames: int) -> FloatArray:
    """Returns the mask [4, T] of a window whose first frames are known: 1 is known.

    The first frame is repeated four times, then four frames fold into four channels, so that each
    latent frame carries the mask of the frames it stands for.
    """
    mask = (np.arange(frames) < known).astype(np.float32)
    padded = np.concatenate([np.repeat(mask[:1], FRAMES_PER_LATENT), mask[1:]])
    return padded.reshape(latent_frames(frames), FRAMES_PER_LATENT).T


def _masked(latents: FloatArray, known: int, frames: int) -> FloatArray:
    shape = (1, MASK_CHANNELS, *latents.shape[2:])
    mask = np.broadcast_to(fold_mask(known, frames)[None, :, :, None, None], shape)
    return np.concatenate([mask, latents], axis=1)


async def _identity(picture: Picture) -> tuple[tuple[int, ...], bytes]:
    digest = await asyncio.to_thread(_digest, picture)
    return picture.shape, digest


def _digest(picture: Picture) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(picture).data).digest()
