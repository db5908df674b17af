"""A whole clip exactly as the authors' programs make it, for speech that is known to its end.

samples -> waveform -> features of the whole -> windows -> video

A window is told the last frames of the one before, as bytes, and fades over from it; or with
``blend_latents`` the windows run side by side and are joined inside each step (``blend.py``).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.animation.blend import blended_latents
from server.animation.condition import Conditioner
from server.animation.generation import Direction, Generation, Noise, generate
from server.animation.stages import Stopwatch
from server.animation.stitch import Clip, fade
from server.animation.windows import Window
from server.arrays import FloatArray
from server.audio.clock import FRAME_RATE
from server.audio.normalizer import RunningNormalizer
from server.audio.pcm import Samples
from server.pictures.colors import ColorMatcher
from server.pictures.portrait import Picture
from server.recorder import SILENT, Recorder
from server.triton.contract import FRAMES_PER_LATENT, VAE_DECODER, Variant
from server.triton.engine import Engine, Priority

MIN_FRAMES = FRAMES_PER_LATENT + 1
"""The preview denoiser needs two latent frames."""


@dataclass(frozen=True, slots=True)
class ExactClip:
    """How the authors cut a clip.

    Attributes:
        window_frames: upstream's ``video_length`` (flash, which makes one window and drops the
            rest) or ``partial_video_length`` (preview); 4k + 1.
        overlap_frames: upstream's ``overlap_video_length``: video frames that a window shares with
            the one before, or latent frames with ``blend_latents``. Preview only.
        blend_latents: upstream's ``use_longvideo_cfg``. Preview only.
        match_colors: whether the pictures get the colours of the first one.
    """

    window_frames: int
    overlap_frames: int = 8
    blend_latents: bool = False
    match_colors: bool = False


def clip_frames(samples: int, sample_rate_hz: int, exact: ExactClip, variant: Variant) -> int:
    """Returns how many frames a clip has: fewer than the speech where windows do not reach its end.

    Less than one frame of speech gives 0. The authors read a length in hundredths of a second and
    round down what they multiply it to as a float, so that 1.16 s has 28 frames, not 29.
    """
    frames = _whole(int(round(samples / sample_rate_hz, 2) * FRAME_RATE))
    if variant == "flash":
        return min(frames, exact.window_frames)
    if exact.blend_latents or frames == 0:
        return frames
    *_, last = clip_windows(frames, exact)
    return last.end


def clip_windows(frames: int, exact: ExactClip) -> Iterator[Window]:
    """Yields the windows of a clip; the last one is shortened to 4k + 1, so frames may be lost."""
    start = 0
    overlap = 0
    while (length := _whole(min(exact.window_frames, frames - start))) > overlap:
        yield Window(index=start, start=start, frames=length, overlap=overlap)
        if start + exact.window_frames >= frames:
            return
        overlap = exact.overlap_frames
        start += exact.window_frames - overlap


async def animate_clip(
    engine: Engine,
    conditioner: Conditioner,
    direction: Direction,
    samples: Samples,
    frames: int,
    exact: ExactClip,
    noise: Noise,
    *,
    first_priority: Priority = Priority.NORMAL,
    recorder: Recorder = SILENT,
) -> AsyncIterator[FloatArray]:
    """Yields the video of a clip in pieces [3, n, height, width] in [0, 1].

    Windows that are blended go before nobody: their first frame comes last, and for so long others
    are not to be kept waiting.

    Args:
        engine: runs the networks.
        conditioner: encodes what is known of a window.
        direction: who is animated, and how.
        samples: the whole speech, 16 kHz.
        frames: as ``clip_frames`` returns it.
        exact: how the clip is cut.
        noise: what the latents begin with.
        first_priority: of the first window's executions.
        recorder: told how long each stage takes.
    """
    picture, generation = direction.avatar.picture, direction.generation
    priority = Priority.NORMAL if exact.blend_latents else first_priority
    with Stopwatch(recorder) as stopwatch:
        stopwatch.begin("features")
        features = await _features(engine, samples, frames, generation, priority)
        if exact.blend_latents:
            stopwatch.begin("condition")
            condition = await conditioner.first_window(picture, exact.window_frames)
            stopwatch.begin("denoise")
            latents = await blended_latents(
                engine,
                direction,
                noise,
                condition=condition,
                features=features,
                frames=frames,
                overlap=exact.overlap_frames,
                recorder=recorder,
            )
            stopwatch.begin("decode")
            video = await _decode(engine, latents, priority)
            stopwatch.finish(frames)
            yield video
            return
        cut = tuple(clip_windows(frames, exact))
        held = np.zeros((3, 0, *picture.shape[:2]), np.float32)
        for window in cut:
            stopwatch.begin("condition")
            condition = await _condition(conditioner, picture, held, window, priority)
            stopwatch.begin("denoise")
            hearing = generation.audio.window(features, window.start, window.frames)
            latents = await generate(
                engine,
                direction,
                noise,
                condition=condition,
                hearing=hearing,
                priority=priority,
                recorder=recorder,
            )
            stopwatch.begin("decode")
            decoded = await _decode(engine, latents, priority)
            stopwatch.begin("stitch")
            video = await asyncio.to_thread(fade, held, decoded, axis=1)
            kept = window.frames - (0 if window is cut[-1] else exact.overlap_frames)
            held = video[:, kept:]
            stopwatch.finish(window.frames)
            yield video[:, :kept]
            priority = Priority.NORMAL


async def clip_pictures(
    video: AsyncIterator[FloatArray], *, match_colors: bool
) -> AsyncIterator[Clip]:
    """Yields the pieces of a video as pictures, as the authors save them."""
    match = ColorMatcher()
    window = start = 0
    async for piece in video:
        pictures = await asyncio.to_thread(to_pictures, piece)
        if match_colors:
            pictures = await asyncio.to_thread(match, pictures)
        yield Clip(window, start, pictures)
        window += 1
        start += len(pictures)


async def _features(
    engine: Engine, samples: Samples, frames: int, generation: Generation, priority: Priority
) -> FloatArray:
    def normalized() -> Samples:
        speech = generation.audio.clip_speech(samples, frames)
        return RunningNormalizer(variance_floor=0.0)(speech, 0)

    waveform = await asyncio.to_thread(normalized)
    return await generation.audio.encode(engine, waveform, frames, priority)


async def _condition(
    conditioner: Conditioner, picture: Picture, held: FloatArray, window: Window, priority: Priority
) -> FloatArray:
    if window.overlap == 0:
        return await conditioner.first_window(picture, window.frames, priority)
    known = await asyncio.to_thread(to_pictures, held)
    return await conditioner.window(known, window.frames, priority)


async def _decode(engine: Engine, latents: FloatArray, priority: Priority) -> FloatArray:
    decoded = await engine.run(VAE_DECODER, {"latents": latents}, ["video"], priority=priority)
    video = decoded["video"][0]
    return await asyncio.to_thread(lambda: np.clip(video / 2 + np.float32(0.5), 0, 1))


def _whole(frames: int) -> int:
    """Rounds down to 4k + 1, or to 0."""
    return (frames - 1) // FRAMES_PER_LATENT * FRAMES_PER_LATENT + 1 if frames > 0 else 0


def to_pictures(video: FloatArray) -> NDArray[np.uint8]:
    """Returns video [3, n, height, width] as pictures [n, height, width, 3], rounded down."""
    return np.ascontiguousarray((video * 255).astype(np.uint8).transpose(1, 2, 3, 0))
