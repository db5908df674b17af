"""What the stages of a window take, by its length; a part of `tests.reports.ladder`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from server.animation.stages import Stage
from server.audio.clock import FRAME_RATE
from server.recorder import Recorder
from server.triton.client import TritonEngine
from tests.reports.markdown import table
from tests.support.talking import SPEC, film, held_out_clip

LENGTHS = (9, 13, 17, 21, 25, 33, 49)
STAGES: tuple[Stage, ...] = ("condition", "features", "denoise", "decode", "stitch")
"""The first one needs no speech."""
ROUNDS = 3
SPEECH_S = 4.0
TIMEOUT_S = 60.0
HEADER = ("frames", "speech, s", *STAGES, "all", "all / shown", "latency, s")


class Notes(Recorder):
    """Notes the seconds of each stage, window after window."""

    def __init__(self) -> None:
        self.windows_s: list[Mapping[str, float]] = []

    def window_ended(self, frames: int, stages_s: Mapping[str, float]) -> None:
        self.windows_s.append(stages_s)


async def stages_table(url: str, repository: Path) -> str:
    """Measures windows whose speech is all there, on a Triton."""
    engine = TritonEngine(url, timeout_s=TIMEOUT_S)
    clip = held_out_clip(0, SPEECH_S)
    found: dict[int, list[Mapping[str, float]]] = {frames: [] for frames in LENGTHS}
    for number in range(ROUNDS):
        # There and back, so that what else the machine does falls on all of them.
        for frames in LENGTHS[:: -1 if number % 2 else 1]:
            notes, spec = Notes(), replace(SPEC, ladder=(frames,))
            await film(engine, repository, clip.picture, clip.samples, spec=spec, recorder=notes)
            # The last window may be a shorter one.
            found[frames] += notes.windows_s[:-1]
    await engine.close()
    return table(HEADER, [_row(frames, windows_s) for frames, windows_s in found.items()])


def _row(frames: int, windows_s: Sequence[Mapping[str, float]]) -> list[object]:
    all_s = median(sum(window[stage] for stage in STAGES) for window in windows_s)
    after_speech_s = median(sum(window[stage] for stage in STAGES[1:]) for window in windows_s)
    speech_s = (frames + SPEC.audio_lookahead) / FRAME_RATE
    shown_s = (frames - SPEC.overlap) / FRAME_RATE
    return [
        frames,
        f"{speech_s:.2f}",
        *(f"{1000 * median(window[stage] for window in windows_s):.0f}" for stage in STAGES),
        f"{1000 * all_s:.0f}",
        f"{all_s / shown_s:.2f}",
        f"{speech_s + after_speech_s:.2f}",
    ]
