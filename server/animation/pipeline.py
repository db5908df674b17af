"""The dataflow, from speech to frames. Read this file first.

    condition, timeline -> features -> denoise -> decode -> stitch -> clips of frames

One window at a time: it is told what is known, waits for its audio, and its frames leave as soon as
they are decoded.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from server.animation.anchor import Anchor
from server.animation.condition import Conditioner
from server.animation.economy import REFUSED, Economy
from server.animation.features import hear, next_segment
from server.animation.generation import Directions, Noise, generate
from server.animation.stages import Stopwatch
from server.animation.stitch import Clip, Stitcher
from server.animation.windows import Window, WindowSpec, first_window, following, shortened
from server.audio.clock import MODEL_SAMPLES_PER_FRAME
from server.audio.normalizer import RunningNormalizer
from server.audio.timeline import AudioTimeline
from server.errors import OutOfMemoryError
from server.pictures.portrait import Picture
from server.pictures.resizing import resized
from server.recorder import SILENT, Recorder
from server.triton.contract import PATCH, latent_frames
from server.triton.engine import Engine, Priority


async def animate(
    engine: Engine,
    conditioner: Conditioner,
    picture: Picture,
    timeline: AudioTimeline,
    spec: WindowSpec,
    directions: Directions,
    noise: Noise,
    *,
    opening: Picture | None = None,
    drift_levels: float = 0.0,
    first_priority: Priority = Priority.NORMAL,
    economy: Economy = REFUSED,
    recorder: Recorder = SILENT,
) -> AsyncIterator[Clip]:
    """Yields the frames of an utterance, in order and without gaps, a clip for each window.

    The last clip reaches past the end of the audio: the caller drops what it does not need. The
    first window begins with ``opening``, or else with the portrait ``picture``, and its executions
    have a priority of their own. What windows are told of the frames before them is held to the
    portrait as ``drift_levels`` say; see `Anchor`. Each window is made as ``directions`` say when
    its audio is there, out of noise that goes on from window to window. One that memory has no room
    for is made again, shorter or smaller, or refused, as ``economy`` says; its frames leave in the
    size of the portrait all the same. The recorder is told how long each stage of a window takes.
    """
    normalize = RunningNormalizer()
    stitcher = Stitcher(spec.overlap)
    priority = first_priority
    anchor = Anchor(picture, drift_levels)
    window = first_window(spec)
    with Stopwatch(recorder) as stopwatch:
        while True:
            window = economy.fitted(window)
            stopwatch.begin("audio")
            if not await _has_new_frames(timeline, window):
                break
            try:
                # First, since it needs no audio and the wait for that is the longest.
                stopwatch.begin("condition")
                condition = await _condition(
                    conditioner, picture, opening, stitcher, anchor, window, priority, economy
                )
                stopwatch.begin("audio")
                window = await _fitted(timeline, window, spec)
                segment = await next_segment(timeline, window, spec, normalize)
                stopwatch.begin("features")
                direction = directions(window)
                audio = direction.generation.audio.at(*(n // PATCH for n in condition.shape[3:]))
                hearing = await hear(engine, audio, segment, window, priority)
                stopwatch.begin("denoise")
                latents = await generate(
                    engine,
                    direction,
                    noise,
                    # The VAE looks back alone: that of a shorter window is the beginning of it.
                    condition=condition[:, :, : latent_frames(window.frames)],
                    hearing=hearing,
                    priority=priority,
                    recorder=recorder,
                )
                stopwatch.begin("decode")
                decoded = await economy.decode(engine, latents, priority)
            except OutOfMemoryError as error:
                window = economy.lowered(window, error)
                continue
            stopwatch.begin("stitch")
            shown = await asyncio.to_thread(resized, decoded, (picture.shape[1], picture.shape[0]))
            clip = await stitcher.add(window, shown)
            yield replace(clip, work=stopwatch.finish(window.frames))
            priority = Priority.NORMAL
            window = following(window, spec)
    held = stitcher.finish()
    if held is not None:
        yield held


async def _has_new_frames(timeline: AudioTimeline, window: Window) -> bool:
    """Waits until a window is known to hold a frame that the windows before did not."""
    seen = (window.start + window.overlap) * MODEL_SAMPLES_PER_FRAME
    return await timeline.wait_until(seen + 1)


async def _fitted(timeline: AudioTimeline, window: Window, spec: WindowSpec) -> Window:
    """Waits for a window's audio, or the end, and returns it no longer than is needed."""
    end = (window.end + spec.audio_lookahead) * MODEL_SAMPLES_PER_FRAME
    if await timeline.wait_until(end):
        return window
    return shortened(window, spec, timeline.end // MODEL_SAMPLES_PER_FRAME)


async def _condition(
    conditioner: Conditioner,
    picture: Picture,
    opening: Picture | None,
    stitcher: Stitcher,
    anchor: Anchor,
    window: Window,
    priority: Priority,
    economy: Economy,
) -> NDArray[np.float32]:
    if window.overlap == 0 and opening is None:
        (sized,) = await asyncio.to_thread(economy.sized, picture[None])
        return await conditioner.first_window(sized, window.frames, priority)
    shown = stitcher.held if opening is None or window.overlap > 0 else opening[None]
    held = await asyncio.to_thread(anchor.hold, shown)
    known = await asyncio.to_thread(economy.sized, held)
    return await conditioner.window(known, window.frames, priority)
