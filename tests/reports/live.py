"""What a live stream loses against a whole file: context, normalisation, noise, seams.

python -m tests.reports.live REPOSITORY
"""

import argparse
import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyloudnorm
import soundfile
from numpy.typing import NDArray
from PIL import Image

from server.animation.cache import ByteCache
from server.animation.condition import Conditioner
from server.animation.features import next_segment
from server.animation.generation import direct, seeded_noise
from server.animation.pipeline import animate
from server.animation.tokens import PromptTokenizer
from server.animation.variant import generation
from server.animation.windows import Window, WindowSpec, windows
from server.audio.clock import FRAME_RATE, MODEL_RATE_HZ, MODEL_SAMPLES_PER_FRAME
from server.audio.loudness import normalize_loudness
from server.audio.normalizer import RunningNormalizer
from server.audio.paths import FlashAudio
from server.audio.pcm import Samples
from server.audio.resampler import Resampler
from server.audio.timeline import AudioBudget, AudioTimeline
from server.manifest import TOKENIZER, read_manifest
from server.pictures.face import everywhere
from server.pictures.portrait import cropped
from server.sessions.jobs import VARIANT_DEFAULTS
from tests.reports.markdown import DOCS, table, write_measured
from tests.reports.noise import LEVELS_TEXT, ROOMS_TEXT, levels_table, rooms_table
from tests.support.onnx_engine import OnnxEngine
from tests.support.talking import SPEC

MEDIA = DOCS / "media"
LEFT_FRAMES = (0, 5, 12, 25, 50, 100)
RIGHT_FRAMES = (1, 2, 5, 10, 25)
ROLLOVER_S = 60
"""Speech is repeated up to this length to see the running normalisation settle."""


def speech() -> Samples:
    """Returns the demo's speech at 16 kHz, in whole frames."""
    data, rate = soundfile.read(MEDIA / "speech.wav", dtype="float32")
    mono = data.reshape(len(data), -1).mean(axis=1, dtype=np.float32)
    resampler = Resampler(rate)
    samples = np.concatenate([resampler.push(mono), resampler.finish()])
    return samples[: len(samples) // MODEL_SAMPLES_PER_FRAME * MODEL_SAMPLES_PER_FRAME]


def standardized(samples: Samples) -> Samples:
    """Normalises as the authors do a whole file."""
    return ((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)).astype(np.float32)


async def live_features(
    engine: OnnxEngine, samples: Samples, spec: WindowSpec, *, running: bool
) -> NDArray[np.float32]:
    """Returns the features of every frame, each from the window that first shows it."""
    whole = samples if running else standardized(samples)
    timeline = AudioTimeline(AudioBudget(len(whole) + 1))
    await timeline.finish(whole, len(whole))
    frames = len(whole) // MODEL_SAMPLES_PER_FRAME
    normalize = RunningNormalizer()
    found: list[NDArray[np.float32]] = []
    for window in windows(spec):
        if window.start + window.overlap >= frames:
            break
        segment = await next_segment(timeline, window, spec, normalize if running else _as_is)
        features = await FlashAudio().encode(engine, segment.waveform, segment.frames)
        first = window.start + window.overlap - segment.start
        found.append(features[first : window.end - segment.start])
    return np.concatenate(found)[:frames]


def _as_is(samples: Samples, start: int) -> Samples:
    return samples


def error(live: NDArray[np.float32], whole: NDArray[np.float32]) -> str:
    """Returns the RMS difference as a part of how much the features vary over time."""
    spread = whole - whole.mean(axis=0)
    return f"{100 * np.sqrt(np.square(live - whole).mean() / np.square(spread).mean()):.2g} %"


async def whole_features(engine: OnnxEngine, waveform: Samples) -> NDArray[np.float32]:
    """Returns the features of all frames, as the authors compute them."""
    return await FlashAudio().encode(engine, waveform, len(waveform) // MODEL_SAMPLES_PER_FRAME)


async def context_table(engine: OnnxEngine, samples: Samples) -> str:
    """Measures what a bounded context costs, with the whole file's normalisation."""
    whole = await whole_features(engine, standardized(samples))
    rows: list[list[object]] = []
    for left in LEFT_FRAMES:
        row: list[object] = [f"{left} ({left / FRAME_RATE:g} s)"]
        for right in RIGHT_FRAMES:
            spec = replace(SPEC, audio_left_context=left, audio_lookahead=right)
            row.append(error(await live_features(engine, samples, spec, running=False), whole))
        rows.append(row)
    header = [f"{right} (+{1000 * right // FRAME_RATE} ms)" for right in RIGHT_FRAMES]
    return table(["left \\ right, frames", *header], rows)


async def normalisation_table(engine: OnnxEngine, samples: Samples) -> str:
    """Measures running against whole-file normalisation, over time."""
    repeats = -(-ROLLOVER_S * MODEL_RATE_HZ // len(samples))
    long = np.tile(samples, repeats)
    whole = await whole_features(engine, standardized(long))
    running = await live_features(engine, long, SPEC, running=True)
    rows: list[list[object]] = []
    for seconds in (1, 2, 5, 10, 30, 60):
        heard = long[: seconds * MODEL_RATE_HZ]
        gain = 20 * np.log10(long.std() / heard.std())
        part = slice((seconds - 1) * FRAME_RATE, seconds * FRAME_RATE)
        loudness = pyloudnorm.Meter(MODEL_RATE_HZ).integrated_loudness(heard)
        rows.append([seconds, f"{loudness:.1f}", f"{gain:+.2f}", error(running[part], whole[part])])
    header = ["second", "LUFS so far", "gain against the whole, dB", "features of that second"]
    return table(header, rows)


async def loudness_table(engine: OnnxEngine, samples: Samples) -> str:
    """Measures what leaving out the authors' loudness normalisation changes, at some levels."""
    rows: list[list[object]] = []
    for level_db in (-60, -40, -20, 0):
        scaled = (samples * 10 ** (level_db / 20)).astype(np.float32)
        theirs = await whole_features(engine, standardized(normalize_loudness(scaled)))
        ours = await whole_features(engine, RunningNormalizer()(scaled, 0))
        loudness = pyloudnorm.Meter(MODEL_RATE_HZ).integrated_loudness(scaled)
        rows.append([f"{level_db:+d} dB, {loudness:.0f} LUFS", error(ours, theirs)])
    return table(["the same speech at", "features against the authors'"], rows)


async def film(
    engine: OnnxEngine, repository: Path, samples: Samples, spec: WindowSpec
) -> tuple[NDArray[np.uint8], list[Window]]:
    """Returns the frames of a live stream, and its windows."""
    manifest = read_manifest(repository)
    width, height = manifest.sizes[0]
    with Image.open(MEDIA / "portrait.png") as image:
        picture, _ = cropped(image.convert("RGB"), width, height)
    tokenizer = PromptTokenizer(repository / TOKENIZER)
    conditioner = Conditioner(engine, tokenizer, ByteCache(2**28))
    settings = VARIANT_DEFAULTS[manifest.variant]
    avatar = await conditioner.avatar(picture, settings.prompt, settings.negative_prompt)
    timeline = AudioTimeline(AudioBudget(len(samples) + 1))
    await timeline.finish(samples, len(samples))
    how = generation(settings, manifest.variant, everywhere(width, height))
    direction, noise = await direct(engine, avatar, how), seeded_noise(settings.seed)
    made = animate(engine, conditioner, picture, timeline, spec, lambda _: direction, noise)
    clips = [clip async for clip in made]
    frames = np.concatenate([clip.pictures for clip in clips])
    cut = [window for window, _ in zip(windows(spec), range(clips[-1].window + 1), strict=False)]
    return frames[: len(samples) // MODEL_SAMPLES_PER_FRAME], cut


async def seam_table(engine: OnnxEngine, repository: Path, samples: Samples) -> str:
    """Measures frame-to-frame differences where windows meet, against all others."""
    rows: list[list[object]] = []
    for overlap in (1, 5, 9):
        # Long windows alone, since an overlap is shorter than every window.
        spec = replace(SPEC, ladder=(SPEC.longest,), overlap=overlap)
        frames, cut = await film(engine, repository, samples, spec)
        moved = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
        shared = np.zeros(len(moved), bool)
        for window in cut[1:]:
            # From the last frame before the overlap to the first frame after it.
            shared[window.start - 1 : window.start + overlap] = True
        seam, inside = moved[shared], moved[~shared]
        rows.append(
            [
                overlap,
                f"{inside.mean():.2f}",
                f"{seam.mean():.2f}",
                f"{seam.max() / inside.max():.2f}",
                f"{seam.mean() / inside.mean():.2f}",
            ]
        )
    header = ["overlap", "inside, levels", "seams, levels", "largest: seam / inside"]
    return table([*header, "mean: seam / inside"], rows)


CONTEXT = """## Audio context

RMS error of the features of all frames against the whole file's, as a part of how much they vary
over time, for the audio context before a window (left) and after it (right). The right context is
waited for: it adds to the latency of every window. The gateway takes 50 before and 5 after, past
which more hardly helped; `--audio-left-context-frames` and `--audio-lookahead-frames` change it."""
NORMALISATION = f"""## Normalisation

The authors normalise a whole file; a stream by what it has heard so far. The speech is repeated up
to {ROLLOVER_S} s."""
LOUDNESS = """The authors first bring a file to -23 LUFS. A stream needs no running gain for that: a
gain before zero mean and unit variance cancels. What is left is the floor of -60 dBFS under the
variance, so that noise is not blown up to speech: speech near it stays quieter than the authors'.
Here the whole speech is normalised at once, so that nothing else differs."""
SEAMS = f"""## Seams

Mean absolute difference of neighbouring frames, in levels of 255, from the last frame before an
overlap to the first one after it, and everywhere else; windows of {SPEC.longest} frames alone."""


async def main(repository: Path) -> None:
    """Measures on a flash repository and writes the page."""
    engine, samples = OnnxEngine(repository), speech()
    write_measured(
        "live.md",
        "live",
        "What a live stream loses against a whole file",
        f"Measured on the checkpoint `{read_manifest(repository).checkpoint_digest}` with "
        f"`docs/media/speech.wav` ({len(samples) / MODEL_RATE_HZ:.1f} s). Run it on a repository "
        "of real weights to know theirs.",
        CONTEXT,
        await context_table(engine, samples),
        NORMALISATION,
        await normalisation_table(engine, samples),
        LOUDNESS,
        await loudness_table(engine, samples),
        ROOMS_TEXT,
        await rooms_table(engine, repository),
        LEVELS_TEXT,
        await levels_table(engine, repository),
        SEAMS,
        await seam_table(engine, repository, samples),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path, help="a model repository of the flash variant")
    asyncio.run(main(parser.parse_args().repository))
