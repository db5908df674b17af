"""A known good piece of work, to see whether the engine works: one frame of silence."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from PIL import Image

from server.animation.cache import ByteCache
from server.animation.condition import Conditioner
from server.animation.generation import seeded_noise
from server.animation.pipeline import animate
from server.animation.teacache import TeaCache
from server.animation.tokens import PromptTokenizer
from server.animation.variant import generation, needs_negative_text
from server.arrays import FloatArray
from server.audio.clock import MODEL_SAMPLES_PER_FRAME
from server.audio.timeline import AudioBudget, AudioTimeline
from server.pictures.face import everywhere, find_face
from server.sessions.jobs import Offer
from server.triton.engine import Engine


class Probe:
    """Animates one frame of silence at the smallest size, with nothing cached but the prompt."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: PromptTokenizer,
        offer: Offer,
        encoded: Mapping[str, FloatArray] = MappingProxyType({}),
    ) -> None:
        """Begins with nothing known; the arguments are those of the gateway."""
        self._engine = engine
        self._tokenizer = tokenizer
        self._offer = offer
        self._encoded = encoded
        self._prompt = offer.generation.prompt
        self._known = encoded
        """The encodings that a routine trial goes without umT5 by."""

    async def run(self, thorough: bool) -> None:
        """Tries the engine.

        Two steps are taken, and TeaCache skips the second, so that every network has its turn. The
        portrait is new each time: a Triton that caches answers would give those of a dead network.

        Args:
            thorough: whether the text encoder is tried, too; at the public size that takes seconds,
                so otherwise what it gave before is used.

        Raises:
            EngineUnavailableError, ExecutionError: a network cannot be run now.
        """
        offer = self._offer
        settings = replace(
            offer.generation, steps=2, teacache=TeaCache(threshold=math.inf, warm_up=1)
        )
        width, height = min(offer.sizes, key=lambda size: size[0] * size[1])
        how = generation(
            settings, offer.manifest.variant, everywhere(width, height), seeded_noise(settings.seed)
        )
        if thorough:
            self._known = self._encoded
            # New like the portrait, where any prompt can be encoded.
            fresh = secrets.token_hex(3)
            self._prompt = fresh if offer.offers_prompt(fresh) else offer.generation.prompt
        conditioner = Conditioner(self._engine, self._tokenizer, ByteCache(0), self._known)
        avatar = await conditioner.avatar(
            np.tile(np.frombuffer(secrets.token_bytes(3), np.uint8), (height, width, 1)),
            self._prompt,
            self._prompt if needs_negative_text(how.guidance) else None,
        )
        self._known = {**self._encoded, self._prompt: avatar.text}
        if offer.manifest.variant == "preview":
            await find_face(self._engine, Image.fromarray(avatar.picture))
        timeline = AudioTimeline(AudioBudget(1))
        await timeline.finish(np.zeros(0, np.float32), length=MODEL_SAMPLES_PER_FRAME)
        async for _ in animate(self._engine, conditioner, avatar, timeline, offer.windows, how):
            pass
