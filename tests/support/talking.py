"""Clips of people who are in no training, and what the networks make of them in this process."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.demo.faces import Face, random_face
from export.demo.voices import HELD_OUT, utterance
from server.animation.cache import ByteCache
from server.animation.condition import Conditioner
from server.animation.generation import direct, seeded_noise
from server.animation.pipeline import animate
from server.animation.styles import STYLES
from server.animation.tokens import PromptTokenizer
from server.animation.variant import generation
from server.animation.windows import WindowSpec, windows
from server.audio.clock import MODEL_RATE_HZ, MODEL_SAMPLES_PER_FRAME
from server.audio.timeline import AudioBudget, AudioTimeline
from server.manifest import TOKENIZER
from server.pictures.face import everywhere
from server.pictures.portrait import cropped
from server.recorder import SILENT, Recorder
from server.sessions.jobs import VARIANT_DEFAULTS, GenerationSettings, window_spec
from server.settings import Settings
from server.triton.contract import DENOISER, MASK_CHANNELS, Arrays, Network
from server.triton.engine import Engine, Priority

Pictures = NDArray[np.uint8]

SIDE = 128
PORTRAIT_SIDE = 512
SPEC = window_spec(Settings.model_construct())
"""How the server cuts live speech unless told otherwise."""
DRIFT_LEVELS: float = Settings.model_construct().drift_levels
FLASH = replace(VARIANT_DEFAULTS["flash"], prompt=STYLES["cinematic"])
"""How the demo is served: with the first of its styles, and else as flash is."""
HELD_OUT_SEED = 9_000
"""No training draws from it."""
SILENT_START_S = 0.6
GREY = 128


@dataclass(frozen=True)
class TalkingClip:
    """Somebody, and what they say: 16 kHz, full scale 1, whole frames."""

    face: Face
    samples: NDArray[np.float32]

    @property
    def frames(self) -> int:
        return len(self.samples) // MODEL_SAMPLES_PER_FRAME

    @property
    def portrait(self) -> Image.Image:
        """What a client sends."""
        return self.face.portrait(PORTRAIT_SIDE)

    @property
    def picture(self) -> Pictures:
        """The portrait at the size of a frame, as the server crops it."""
        return cropped(self.portrait, SIDE, SIDE)[0]


def held_out_clip(index: int, seconds: float) -> TalkingClip:
    """Draws a person and their speech, which begins after a moment of silence."""
    random = np.random.default_rng([HELD_OUT_SEED, index])
    face = random_face(random)
    spoken = utterance(
        random, HELD_OUT, seconds - SILENT_START_S, music_share=0.0, silent_share=0.0
    )
    samples = np.pad(spoken, (round(SILENT_START_S * MODEL_RATE_HZ), 0))
    return TalkingClip(face, samples)


def seams(frames: int, spec: WindowSpec = SPEC) -> list[int]:
    """Returns the steps into, within and out of overlaps, each by its first frame."""
    steps: list[int] = []
    for window in windows(spec):
        if window.start + window.overlap >= frames:
            return steps
        if window.overlap:
            steps += range(window.start - 1, window.start + window.overlap)
    return steps


async def film(
    engine: Engine,
    repository: Path,
    picture: Pictures,
    samples: NDArray[np.float32],
    *,
    settings: GenerationSettings = FLASH,
    spec: WindowSpec = SPEC,
    forgetful: bool = False,
    drift_levels: float = DRIFT_LEVELS,
    recorder: Recorder = SILENT,
) -> Pictures:
    """Returns the frames of a talking portrait, made as for a live stream.

    Args:
        engine: runs the networks.
        repository: where their tokenizer is.
        picture: who, at the size of a frame.
        samples: what, 16 kHz, whole frames.
        settings: how.
        spec: how it is cut into windows.
        drift_levels: how far known frames are held to the portrait.
        forgetful: whether later windows are told nothing of the frames before them.
        recorder: is told how long stages take.
    """
    tokenizer = PromptTokenizer(repository / TOKENIZER)
    remember = Forgetful if forgetful else Conditioner
    conditioner = remember(engine, tokenizer, ByteCache(2**28))
    avatar = await conditioner.avatar(picture, settings.prompt)
    timeline = AudioTimeline(AudioBudget(len(samples) + 1))
    await timeline.finish(samples, len(samples))
    how = generation(settings, "flash", everywhere(SIDE, SIDE))
    direction, noise = await direct(engine, avatar, how), seeded_noise(settings.seed)
    stages = (engine, conditioner, picture, timeline, spec, lambda _: direction, noise)
    made = animate(*stages, drift_levels=drift_levels, recorder=recorder)
    clips = [clip async for clip in made]
    frames = np.concatenate([clip.pictures for clip in clips])
    return frames[: len(samples) // MODEL_SAMPLES_PER_FRAME]


class Forgetful(Conditioner):
    """Tells later windows nothing of the frames before them."""

    async def window(
        self, known: Pictures, frames: int, priority: Priority = Priority.NORMAL
    ) -> NDArray[np.float32]:
        if len(known) == 1:
            return await super().window(known, frames, priority)
        condition = await super().window(np.full_like(known[:1], GREY), frames, priority)
        condition[:, :MASK_CHANNELS] = 0
        return condition


class SwappedBranches(Engine):
    """An engine whose denoiser mistakes speech for silence and silence for speech."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        results = await self._engine.run(
            network, inputs, outputs, priority=priority, timeout_s=timeout_s
        )
        if network is not DENOISER:
            return results
        return {name: array[:, ::-1] for name, array in results.items()}
