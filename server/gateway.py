"""What the calls share: the engine, the prepared conditions, the offer and the free streams."""

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from server.cache import ByteCache
from server.condition import Conditioner
from server.engine import Engine
from server.errors import CapacityError
from server.guidance import AUDIO, UNGUIDED, Guidance
from server.jobs import GenerationSettings, Job, Offer
from server.pipeline import Generation, animate
from server.portrait import Picture, decode_portrait, fit
from server.samplers.sampler import make_sampler
from server.speech import Speech
from server.stitch import Clip
from server.tokens import PromptTokenizer

RETRY_AFTER_S = 2.0


@dataclass(frozen=True, slots=True)
class Sitter:
    """Who is animated: the picture at output size, and the portrait's own width and height."""

    picture: Picture
    portrait_px: tuple[int, int]


class Gateway:
    """Runs jobs."""

    def __init__(self, offer: Offer, engine: Engine, tokenizer: PromptTokenizer) -> None:
        self.offer = offer
        self.active = 0
        """Streams and renders running now."""
        self._engine = engine
        self._conditioner = Conditioner(
            engine, tokenizer, ByteCache(offer.settings.condition_cache_bytes)
        )

    @contextmanager
    def slot(self) -> Generator[None]:
        """Holds one of the streams that may run at once.

        Raises:
            CapacityError: none is free.
        """
        limit = self.offer.settings.max_streams
        if self.active >= limit:
            raise CapacityError(limit, RETRY_AFTER_S)
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    async def sitter(self, job: Job) -> Sitter:
        """Decodes a job's portrait.

        Raises:
            InvalidFieldError: it is no usable picture.
        """
        return await asyncio.to_thread(self._decode, job)

    async def frames(self, job: Job, sitter: Sitter, speech: Speech) -> AsyncIterator[Clip]:
        """Yields the frames of a job, exactly as many as its speech has, a clip for each window."""
        avatar = await self._conditioner.avatar(sitter.picture, job.generation.prompt)
        clips = animate(
            self._engine,
            self._conditioner,
            avatar,
            speech.timeline,
            self.offer.windows,
            _generation(job.generation),
        )
        async for clip in clips:
            yield clip if speech.frame_count is None else clip.until(speech.frame_count)

    def _decode(self, job: Job) -> Sitter:
        image = decode_portrait(
            job.portrait,
            max_pixels=self.offer.settings.max_portrait_pixels,
            field=job.portrait_field,
        )
        return Sitter(fit(image, job.video_format.width, job.video_format.height), image.size)


def _generation(settings: GenerationSettings) -> Generation:
    return Generation(
        sampler=make_sampler(settings.sampler, steps=settings.steps, shift=settings.shift),
        guidance=Guidance(
            rows=AUDIO if settings.audio_guidance > 1 else UNGUIDED,
            audio_scale=settings.audio_guidance,
        ),
        seed=settings.seed,
    )
