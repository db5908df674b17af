"""How far a room's noise opens the mouth, with and without the gate: a part of docs/live.md."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from server.animation import features, pipeline
from server.audio.clock import FRAME_RATE, MODEL_RATE_HZ
from server.audio.pcm import Samples
from tests.reports.markdown import table
from tests.support.lip_sync import LipSync, lip_sync
from tests.support.noises import noise
from tests.support.onnx_engine import OnnxEngine
from tests.support.talking import TalkingClip, film, held_out_clip, seams

ROOMS = {"hum": -58, "rumble": -50, "pink": -50, "white": -46}
"""dBFS."""
BEFORE_S, SPEECH_S, AFTER_S = 2, 2, 5
FIRST_SHOWN, PAUSED_S = 3, 2.5
"""Frames left out where a film begins, and the last part of what follows the speech: what is heard
together with speech lies before it."""
USUAL_DB = -26
CLIPS, CLIP_S = 4, 4.0
LEVELS_DB = (0, -20, -40)


class UsualLevel:
    """A gain that never changes, from a usual level of speech."""

    def __call__(self, samples: Samples, start: int) -> Samples:
        """Returns samples of that level with unit variance, wherever they begin."""
        return samples * np.float32(10 ** (-USUAL_DB / 20))


def ungated(samples: Samples) -> Samples:
    """Returns the gain of a gate that is always open."""
    return np.ones(len(samples), np.float32)


@contextmanager
def hearing(
    *, gate: bool = True, normalizer: Callable[[], object] | None = None
) -> Generator[None]:
    """Lets windows be heard without the gate, or with another normaliser."""
    with ExitStack() as changes:
        if not gate:
            changes.enter_context(patch.object(features, "gate", ungated))
        if normalizer is not None:
            changes.enter_context(patch.object(pipeline, "RunningNormalizer", normalizer))
        yield


async def rooms_table(engine: OnnxEngine, repository: Path) -> str:
    """Measures how far each noise opens the mouth before speech and in a pause after it."""
    clip = held_out_clip(0, CLIP_S)
    spoken = held_out_clip(1, CLIP_S).samples[-SPEECH_S * MODEL_RATE_HZ :]

    async def mouth(name: str | None) -> NDArray[np.float64]:
        length = (BEFORE_S + SPEECH_S + AFTER_S) * MODEL_RATE_HZ
        room = np.zeros(length, np.float32) if name is None else noise(name, length, ROOMS[name])
        room[BEFORE_S * MODEL_RATE_HZ :][: len(spoken)] += spoken
        frames = await film(engine, repository, clip.picture, room)
        return frames[:, *clip.face.mouth_box].astype(np.float64)

    parts = {
        "before": slice(FIRST_SHOWN, BEFORE_S * FRAME_RATE - FIRST_SHOWN),
        "pause": slice(-round(PAUSED_S * FRAME_RATE), None),
    }
    rows: list[list[object]] = []
    for title, changed in {
        "running normalisation alone": hearing(gate=False),
        f"speech taken to be at {USUAL_DB} dBFS": hearing(gate=False, normalizer=UsualLevel),
        "running normalisation, gate": hearing(),
    }.items():
        with changed:
            silent = await mouth(None)
            found = {name: await mouth(name) for name in ROOMS}
        for part_name, part in parts.items():
            shut = silent[part].mean(axis=0)
            moved = [np.abs(seen[part] - shut).mean() for seen in (silent, *found.values())]
            times = [f"{levels / moved[0]:.2f}" for levels in moved[1:]]
            rows.append([title, part_name, f"{moved[0]:.2f}", *times])
    header = [f"{name} {level_db} dBFS" for name, level_db in ROOMS.items()]
    return table(["heard with", "where", "digital silence, levels", *header], rows)


async def levels_table(engine: OnnxEngine, repository: Path) -> str:
    """Measures lip-sync at some levels, the mean of some clips."""
    clips = [held_out_clip(index, CLIP_S) for index in range(CLIPS)]

    async def measured(clip: TalkingClip, level_db: float) -> LipSync:
        scaled = clip.samples * np.float32(10 ** (level_db / 20))
        frames = await film(engine, repository, clip.picture, scaled)
        return lip_sync(clip.face, clip.samples, frames, seams(len(frames)), clip.picture)

    rows: list[list[object]] = []
    for level_db in LEVELS_DB:
        for gate in (False, True):
            with hearing(gate=gate):
                found = [await measured(clip, level_db) for clip in clips]
            means = (
                np.mean([each.correlation for each in found]),
                np.mean([each.silence_opening for each in found]),
                np.mean([each.speech_opening for each in found]),
            )
            rows.append(
                [f"{level_db:+d} dB", "yes" if gate else "no", *(f"{x:.3f}" for x in means)]
            )
    header = ["correlation", "opening in silence", "opening in speech"]
    return table(["speech at", "gate", *header], rows)


ROOMS_TEXT = f"""## A room's noise

Wav2Vec2's first layer normalises each channel over time. So a window that holds nothing but noise
comes out of it as strong as speech, and the mouth opens, whatever level was expected: a prior of
speech at a usual level, a level carried over from the utterance before, or a gain held where nobody
speaks come at best to the second kind of hearing below. The noise gate (`server/audio/gate.py`)
makes silence of what does not rise from the noise, told from the window and its context alone.

How far noise moves the mouth, as a multiple of what digital silence does: the mean absolute
difference, in the box of the mouth, from the mean picture in digital silence. `before` are
{BEFORE_S} s before the first word, `pause` is the end of {AFTER_S} s after the last. To an
utterance's beginning, what was said in the one before makes no difference."""
LEVELS_TEXT = f"""The same gate in speech, {CLIPS} clips of `docs/lip-sync.md` at some levels."""
