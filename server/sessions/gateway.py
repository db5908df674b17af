"""What the calls share: the engine, the prepared conditions, the offer and the free streams."""

import asyncio
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from PIL import Image

from server.animation.cache import ByteCache
from server.animation.clip import MIN_FRAMES, ExactClip, animate_clip, clip_frames, clip_pictures
from server.animation.condition import Conditioner
from server.animation.generation import Generation, seeded_noise
from server.animation.guidance import UNGUIDED
from server.animation.pipeline import animate
from server.animation.stitch import Clip
from server.animation.tokens import PromptTokenizer
from server.animation.variant import generation, guidance, needs_negative_text
from server.audio.clock import FRAME_RATE
from server.errors import CapacityError, InvalidFieldError
from server.pictures.face import (
    FaceBox,
    FloatArray,
    at_least_one_token,
    everywhere,
    face_mask,
    find_face,
    is_shown,
)
from server.pictures.portrait import Picture, Placement, cropped, decode_portrait, whole
from server.sessions.jobs import Job, Offer
from server.sessions.speech import Speech
from server.triton.engine import Engine, Newcomer

RETRY_AFTER_S = 2.0
MAX_DECODED_BYTES = 2**31 - 2**20
"""What a message to Triton or from it can hold: blended windows are decoded as one."""


@dataclass(frozen=True, slots=True)
class Sitter:
    """Who is animated.

    Attributes:
        picture: at output size.
        portrait_px: the portrait's own width and height.
        face_mask: where audio acts, [height / 16, width / 16].
        face_missing: whether a face was looked for in vain, so that audio acts everywhere.
    """

    picture: Picture
    portrait_px: tuple[int, int]
    face_mask: FloatArray
    face_missing: bool


class Gateway:
    """Runs jobs."""

    def __init__(
        self,
        offer: Offer,
        engine: Engine,
        tokenizer: PromptTokenizer,
        encoded: Mapping[str, FloatArray] = MappingProxyType({}),
    ) -> None:
        self.offer = offer
        self.active = 0
        """Streams and renders running now."""
        self._engine = engine
        self._conditioner = Conditioner(
            engine, tokenizer, ByteCache(offer.settings.condition_cache_bytes), encoded
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
        """Decodes a job's portrait, and finds the face in it if the variant needs it.

        Raises:
            InvalidFieldError: it is no usable picture.
            EngineUnavailableError: the face detector cannot be run now.
        """
        image = await asyncio.to_thread(
            decode_portrait,
            job.portrait,
            max_pixels=self.offer.settings.max_portrait_pixels,
            field=job.portrait_field,
        )
        box = job.face_box
        looks = self.offer.manifest.variant == "preview" and box is None
        if looks:
            box = await find_face(Newcomer(self._engine), image)
        picture, placement = await asyncio.to_thread(self._placed, image, job)
        if box is not None and not is_shown(box, placement):
            if not looks:
                raise _box_not_shown(job, image.size, placement)
            box = None
        return Sitter(
            picture,
            portrait_px=image.size,
            face_mask=_mask(job, box, placement),
            face_missing=looks and box is None,
        )

    async def frames(
        self, job: Job, sitter: Sitter, speech: Speech, opening: Picture | None
    ) -> AsyncIterator[Clip]:
        """Yields the frames of a job, exactly as many as its speech has, a clip for each window.

        The first window begins with ``opening``, or else with the portrait. An exact clip may have
        fewer frames.
        """
        engine = Newcomer(self._engine)
        if speech.number > 0:
            engine.settle()
        conditioner = self._conditioner.using(engine)
        how = self._generation(job, sitter)
        avatar = await conditioner.avatar(
            sitter.picture,
            job.generation.prompt,
            job.generation.negative_prompt if needs_negative_text(how.guidance) else None,
        )
        stages = (engine, conditioner, avatar)
        if job.exact is not None:
            frames = self.exact_frames(job.exact, speech, job.video_format.size)
            video = animate_clip(*stages, await speech.whole(), frames, how, job.exact)
            clips = clip_pictures(video, match_colors=job.exact.match_colors)
        else:
            clips = animate(*stages, speech.timeline, self.offer.windows, how, opening=opening)
        async for clip in clips:
            engine.settle()
            yield clip if speech.frame_count is None else clip.until(speech.frame_count)

    def _placed(self, image: Image.Image, job: Job) -> tuple[Picture, Placement]:
        size = job.video_format.size
        if job.exact is None:
            return cropped(image, *size)
        return whole(image, size, self.offer.manifest.variant, field=job.portrait_field)

    def exact_frames(self, exact: ExactClip, speech: Speech, size: tuple[int, int]) -> int:
        """Returns how many frames an exact clip of finished speech has.

        Args:
            exact: how it is cut.
            speech: all of it.
            size: width and height of the frames.

        Raises:
            InvalidFieldError: the speech is too short, or too long for what is decoded at once.
        """
        rate = speech.clock.sample_rate_hz
        frames = clip_frames(speech.samples, rate, exact, self.offer.manifest.variant)
        if frames < MIN_FRAMES:
            raise InvalidFieldError(
                "audio",
                f"is too short for an exact clip; send at least {MIN_FRAMES / FRAME_RATE:g} s",
            )
        most = MAX_DECODED_BYTES // (size[0] * size[1] * 3 * 4)
        if exact.blend_latents and frames > most:
            raise InvalidFieldError(
                "audio",
                f"is too long to be blended at this size; send at most {most / FRAME_RATE:.1f} s",
            )
        return frames

    def _generation(self, job: Job, sitter: Sitter) -> Generation:
        return generation(
            job.generation,
            self.offer.manifest.variant,
            sitter.face_mask,
            seeded_noise(job.generation.seed),
        )


def _box_not_shown(
    job: Job, portrait_px: tuple[int, int], placement: Placement
) -> InvalidFieldError:
    field = f"{job.portrait_field.removesuffix('image')}face_box"
    (width, height), shown = portrait_px, f"{placement.width} x {placement.height}"
    return InvalidFieldError(
        field,
        f"lies outside what is shown of the portrait, which has {width} x {height} pixels, at "
        f"{shown}; send the box in pixels of the portrait, or a portrait cropped to that shape",
    )


def _mask(job: Job, box: FaceBox | None, placement: Placement) -> FloatArray:
    # Upstream drops the mask where nothing is guided; an exact clip does too.
    unguided = job.exact is not None and guidance(job.generation).rows == UNGUIDED
    if box is None or unguided:
        return everywhere(placement.width, placement.height)
    mask = face_mask(box, placement)
    return mask if job.exact is not None else at_least_one_token(mask, box, placement)
