"""What the calls share: the engine, the prepared conditions, the offer and the free streams."""

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from server.cache import ByteCache
from server.clip import MIN_FRAMES, ExactClip, animate_clip, clip_frames, clip_pictures
from server.clock import FRAME_RATE
from server.condition import Conditioner
from server.engine import Engine
from server.errors import CapacityError, InvalidFieldError
from server.face import FloatArray, at_least_one_token, everywhere, face_mask
from server.generation import Generation, seeded_noise
from server.guidance import UNGUIDED
from server.jobs import Job, Offer
from server.pipeline import animate
from server.portrait import Picture, Placement, cropped, decode_portrait, whole
from server.speech import Speech
from server.stitch import Clip
from server.tokens import PromptTokenizer
from server.variant import generation, guidance, needs_negative_text

RETRY_AFTER_S = 2.0


@dataclass(frozen=True, slots=True)
class Sitter:
    """Who is animated.

    Attributes:
        picture: at output size.
        portrait_px: the portrait's own width and height.
        face_mask: where audio acts, [height / 16, width / 16].
    """

    picture: Picture
    portrait_px: tuple[int, int]
    face_mask: FloatArray


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

    async def frames(
        self, job: Job, sitter: Sitter, speech: Speech, opening: Picture | None
    ) -> AsyncIterator[Clip]:
        """Yields the frames of a job, exactly as many as its speech has, a clip for each window.

        The first window begins with ``opening``, or else with the portrait. An exact clip may have
        fewer frames.
        """
        how = self._generation(job, sitter)
        avatar = await self._conditioner.avatar(
            sitter.picture,
            job.generation.prompt,
            job.generation.negative_prompt if needs_negative_text(how.guidance) else None,
        )
        stages = (self._engine, self._conditioner, avatar)
        if job.exact is not None:
            frames = self.exact_frames(job.exact, speech)
            video = animate_clip(*stages, await speech.whole(), frames, how, job.exact)
            clips = clip_pictures(video, match_colors=job.exact.match_colors)
        else:
            clips = animate(*stages, speech.timeline, self.offer.windows, how, opening=opening)
        async for clip in clips:
            yield clip if speech.frame_count is None else clip.until(speech.frame_count)

    def exact_frames(self, exact: ExactClip, speech: Speech) -> int:
        """Returns how many frames an exact clip of finished speech has.

        Raises:
            InvalidFieldError: the speech is too short.
        """
        rate = speech.clock.sample_rate_hz
        frames = clip_frames(speech.samples, rate, exact, self.offer.manifest.variant)
        if frames < MIN_FRAMES:
            raise InvalidFieldError(
                "audio",
                f"is too short for an exact clip; send at least {MIN_FRAMES / FRAME_RATE:g} s",
            )
        return frames

    def _generation(self, job: Job, sitter: Sitter) -> Generation:
        return generation(
            job.generation,
            self.offer.manifest.variant,
            sitter.face_mask,
            seeded_noise(job.generation.seed),
        )

    def _decode(self, job: Job) -> Sitter:
        image = decode_portrait(
            job.portrait,
            max_pixels=self.offer.settings.max_portrait_pixels,
            field=job.portrait_field,
        )
        width, height = job.video_format.width, job.video_format.height
        if job.exact is None:
            picture, placement = cropped(image, width, height)
        else:
            picture, placement = whole(image, width * height)
        return Sitter(picture, image.size, _mask(job, placement))


def _mask(job: Job, placement: Placement) -> FloatArray:
    # Upstream drops the mask where nothing is guided; an exact clip does too.
    unguided = job.exact is not None and guidance(job.generation).rows == UNGUIDED
    if job.face_box is None or unguided:
        return everywhere(placement.width, placement.height)
    mask = face_mask(job.face_box, placement)
    return mask if job.exact is not None else at_least_one_token(mask, job.face_box, placement)
