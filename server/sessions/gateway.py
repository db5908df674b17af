"""What conversations share: the engine, the prepared conditions, the offer and the places."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from server.access.access import Access
from server.access.caller import Caller
from server.animation.blink_schedule import LastBlink
from server.animation.cache import ByteCache
from server.animation.clip import (
    MIN_FRAMES,
    ExactClip,
    animate_clip,
    clip_frames,
    clip_pictures,
    clip_windows,
)
from server.animation.condition import Conditioner
from server.animation.defaults import GenerationSettings
from server.animation.economy import Economy
from server.animation.generation import Direction, Directions, Noise, direct, seeded_noise
from server.animation.guidance import UNGUIDED
from server.animation.pipeline import animate
from server.animation.stitch import Clip
from server.animation.tokens import PromptTokenizer
from server.animation.variant import generation, guidance, needs_negative_text
from server.animation.windows import first_window
from server.arrays import FloatArray
from server.audio.clock import FRAME_RATE, MODEL_SAMPLES_PER_FRAME, Clock
from server.audio.timeline import AudioBudget, AudioTimeline
from server.errors import InvalidFieldError, OutOfMemoryError
from server.notices import Notice
from server.pictures.portrait import Picture
from server.recorder import SILENT, Recorder
from server.sessions.admission import Admission, OwnLimits
from server.sessions.avatars import Avatars
from server.sessions.blinks import Blinks
from server.sessions.jobs import Job, Offer
from server.sessions.judging import Judgement, judge
from server.sessions.life import WarpLife, warp_life
from server.sessions.load import Load
from server.sessions.prepared import Prepared, prepare
from server.sessions.sitter import Avatar, Sitter
from server.sessions.speech import Speech
from server.sessions.window_times import WindowTimes
from server.spans import UNTRACED, Tracer
from server.triton.engine import Engine, Priority
from server.triton.precedence import Precedence
from server.triton.usage import SharedTime, UsageEngine
from server.triton.yielding import YieldingEngine

SILENT_FRAMES = 10 * FRAME_RATE
"""After so many a new clip of silence begins, with the portrait unless frames continue: what
windows drift by adds up."""
MAX_DECODED_BYTES = 2**31 - 2**20
"""What a message to Triton or from it can hold: blended windows are decoded as one."""


class Gateway:
    """Runs jobs."""

    def __init__(
        self,
        offer: Offer,
        engine: Engine,
        tokenizer: PromptTokenizer,
        encoded: Mapping[str, FloatArray] = MappingProxyType({}),
        recorder: Recorder = SILENT,
        access: Access | None = None,
        tracer: Tracer = UNTRACED,
        engines: Callable[[], int] = lambda: 1,
    ) -> None:
        """Begins with nothing remembered and every place free.

        Args:
            offer: what may be asked for.
            engine: runs the networks.
            tokenizer: prompts to umT5's tokens.
            encoded: prompts that umT5 need not encode, [1, tokens, text_width] each.
            recorder: told what the gateway does.
            access: lets callers in; None lets in everybody.
            tracer: begins the spans of calls.
            engines: tells how many run the networks just now.
        """
        self.offer = offer
        self.access = access or Access()
        self.recorder = recorder
        self.tracer = tracer
        settings = offer.settings
        self.admission = Admission(
            max_streams=settings.max_streams,
            max_streams_per_caller=settings.places_per_caller,
            max_opening=settings.max_opening_calls,
            max_opening_per_caller=settings.max_opening_calls_per_caller,
        )
        self.window_times = WindowTimes()
        self.load = Load(settings.max_load, engines)
        recorder.loaded(lambda: self.load.taken)
        self.avatars = Avatars(offer, self.prepare_avatar)
        recorder.avatars_kept(lambda: self.avatars.count)
        self._engine = engine
        self._shared_time = SharedTime(engines)
        self._precedence = Precedence(room=engines)
        self._conditioner = Conditioner(
            engine, tokenizer, ByteCache(settings.condition_cache_bytes, recorder), encoded
        )

    def limits_of(self, caller: Caller) -> OwnLimits:
        """Returns what a caller may hold at once."""
        return OwnLimits(self.admission.places_of(caller), self.avatars.places_of(caller))

    async def prepare(self, job: Job) -> Prepared:
        """Returns who is animated; see `prepared.prepare`.

        Raises:
            AvatarNotFoundError: an avatar has been forgotten meanwhile.
        """
        match job.who:
            case Avatar():
                return await self.avatars.prepared(job.who)
            case Sitter():
                # Upstream drops the mask where nothing is guided; an exact clip does too.
                unguided = guidance(job.generation).rows == UNGUIDED
                is_exact = job.exact is not None
                return await prepare(
                    self._engine,
                    self._conditioner.for_stream(),
                    self.offer,
                    job.who,
                    job.video_format.size,
                    uncropped=is_exact,
                    masks=not (is_exact and unguided),
                )

    async def prepare_avatar(self, sitter: Sitter, frame_px: tuple[int, int]) -> Prepared:
        """Returns whom the streams of an avatar animate, with all that they begin with encoded."""
        conditioner = self._conditioner.for_stream()
        prepared = await prepare(self._engine, conditioner, self.offer, sitter, frame_px)
        await self.direction(self.offer.generation, prepared, Priority.NORMAL)
        frames = first_window(self.offer.windows).frames
        await conditioner.first_window(prepared.picture, frames, Priority.NORMAL)
        return prepared

    async def judge(self, sitter: Sitter, frame_px: tuple[int, int]) -> Judgement:
        """Returns what there is to say of a portrait; see `judging.judge`."""
        return await judge(self._engine, self.offer, sitter, frame_px)

    async def direction(
        self, settings: GenerationSettings, prepared: Prepared, priority: Priority
    ) -> Direction:
        """Returns what windows of some settings are made with; the prompts are encoded for it.

        Raises:
            EngineUnavailableError, ExecutionError: a network cannot be run now.
        """
        how = generation(settings, self.offer.manifest.variant, prepared.face_mask)
        negative_prompt = settings.negative_prompt if needs_negative_text(how.guidance) else None
        avatar = await prepared.conditioner.avatar(
            prepared.picture, settings.prompt, negative_prompt, priority
        )
        return await direct(self._engine, avatar, how, priority)

    async def encode(self, job: Job, prepared: Prepared) -> None:
        """Encodes the portrait as a first window is told it; `clips` then finds it encoded.

        Where memory is short it is left to `clips`, which may be lowered.
        """
        if job.exact is not None:
            return
        frames = first_window(self.offer.windows).frames
        with suppress(OutOfMemoryError):
            await prepared.conditioner.first_window(prepared.picture, frames, Priority.FIRST_FRAME)

    async def clips(
        self,
        job: Job,
        prepared: Prepared,
        speech: Speech,
        opening: Picture | None,
        directions: Directions,
        economy: Economy,
        engine: YieldingEngine,
    ) -> AsyncIterator[Clip]:
        """Yields the frames of a job, exactly as many as its speech has, a clip for each window.

        The first window begins with ``opening``, or else with the portrait. An exact clip may have
        fewer frames, and is made as ``directions`` say at its beginning; its windows, decoder and
        size stay as they are. Where memory is short, and the settings allow it, ``economy`` is
        lowered. ``engine`` runs the networks for all that a conversation has drawn.
        """
        engine.take()
        priority = Priority.FIRST_FRAME if speech.number == 0 else Priority.NORMAL
        stages = (economy.parting(engine), prepared.conditioner.through(engine))
        noise = seeded_noise(job.generation.seed)
        if job.exact is not None:
            frames = self._exact_frames(job, job.exact, speech.samples)
            video = animate_clip(
                *stages,
                directions(next(clip_windows(frames, job.exact))),
                await speech.whole(),
                frames,
                job.exact,
                noise,
                first_priority=priority,
                recorder=self.recorder,
            )
            clips = clip_pictures(video, match_colors=job.exact.match_colors)
        else:
            clips = animate(
                *stages,
                prepared.picture,
                speech.timeline,
                self.offer.windows,
                directions,
                noise,
                opening=opening,
                drift_levels=self.offer.settings.drift_levels,
                first_priority=priority,
                economy=economy,
                recorder=self.recorder,
            )
        async for clip in clips:
            if clip.work is not None:
                used_s, held_s = engine.take()
                share = used_s * FRAME_RATE / len(clip.pictures)
                work = replace(clip.work.without(held_s), engine_share=share)
                clip = replace(clip, work=work)
            yield clip if speech.frame_count is None else clip.until(speech.frame_count)

    def engine(self, spare_s: Callable[[], float]) -> YieldingEngine:
        """Returns an engine for one conversation, which has so many seconds to spare at a time."""
        usage = UsageEngine(self._engine, self._shared_time)
        return YieldingEngine(usage, self._precedence, spare_s)

    async def warp_life(self, job: Job, prepared: Prepared) -> WarpLife:
        """Returns the life of a job's portrait; see `life.warp_life`."""
        return await warp_life(self._engine, prepared.picture, job.generation.seed)

    def blinks(self, job: Job, last: LastBlink, tell: Callable[[Notice], None]) -> Blinks:
        """Returns what lays blinks over a job's speech; see `blinks.Blinks`."""
        rate, seed = job.video_format.retiming.frame_rate, job.generation.seed
        return Blinks(self._engine, seed, rate, last, tell)

    async def silence(
        self,
        prepared: Prepared,
        opening: Picture | None,
        noise: Noise,
        directions: Directions,
        economy: Economy,
        engine: YieldingEngine,
    ) -> AsyncIterator[Clip]:
        """Yields the frames of `SILENT_FRAMES` of silence, which begins as `clips` does."""
        timeline = AudioTimeline(AudioBudget(SILENT_FRAMES * MODEL_SAMPLES_PER_FRAME))
        await timeline.finish(np.zeros(0, np.float32), SILENT_FRAMES * MODEL_SAMPLES_PER_FRAME)
        async for clip in animate(
            economy.parting(engine),
            prepared.conditioner.through(engine),
            prepared.picture,
            timeline,
            self.offer.windows,
            directions,
            noise,
            opening=opening,
            drift_levels=self.offer.settings.drift_levels,
            economy=economy,
            recorder=self.recorder,
        ):
            yield clip.until(SILENT_FRAMES)

    def total_frames(self, job: Job, samples: int) -> int:
        """Returns how many frames a job makes of some samples of speech.

        Raises:
            InvalidFieldError: they are too few or too many for the exact clip that is asked for.
        """
        if job.exact is not None:
            return self._exact_frames(job, job.exact, samples)
        frame_rate = job.video_format.retiming.frame_rate
        return Clock(job.audio_format.sample_rate_hz, frame_rate).frame_count(samples)

    def _exact_frames(self, job: Job, exact: ExactClip, samples: int) -> int:
        rate = job.audio_format.sample_rate_hz
        frames = clip_frames(samples, rate, exact, self.offer.manifest.variant)
        if frames < MIN_FRAMES:
            raise InvalidFieldError(
                "audio",
                f"is too short for an exact clip; send at least {MIN_FRAMES / FRAME_RATE:g} s",
            )
        width, height = job.video_format.size
        most = MAX_DECODED_BYTES // (width * height * 3 * 4)
        if exact.blend_latents and frames > most:
            raise InvalidFieldError(
                "audio",
                f"is too long to be blended at this size; send at most {most / FRAME_RATE:.1f} s",
            )
        return frames
