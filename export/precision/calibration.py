"""What the denoiser's layers are given while it animates somebody, from which FP8 takes its scales.

portrait, loudest stretch of the speech -> the gateway's own stages, every network in torch -> the
largest inputs
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from torch import Tensor, nn

from export import sources
from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.errors import ExportError
from export.networks.catalogue import networks
from export.networks.exportable import Build
from export.onnx.torch_engine import TorchEngine
from export.precision.fp8 import layers_in_fp8
from server.animation.cache import ByteCache
from server.animation.condition import Conditioner
from server.animation.defaults import VARIANT_DEFAULTS
from server.animation.generation import direct, seeded_noise
from server.animation.pipeline import animate
from server.animation.tokens import PromptTokenizer
from server.animation.variant import generation, needs_negative_text
from server.animation.windows import WindowSpec
from server.audio.clock import MODEL_RATE_HZ, MODEL_SAMPLES_PER_FRAME
from server.audio.normalizer import VARIANCE_FLOOR
from server.audio.pcm import Samples
from server.audio.resampler import Resampler
from server.audio.timeline import AudioBudget, AudioTimeline
from server.errors import InvalidFieldError
from server.pictures.face import everywhere
from server.pictures.portrait import Picture, cropped, decode_portrait

FRAMES = 17
SIDE_PX = 256
MAX_PIXELS = 100_000_000
LOOKAHEAD_FRAMES = 5
SAMPLES = (FRAMES + LOOKAHEAD_FRAMES) * MODEL_SAMPLES_PER_FRAME
WINDOWS = WindowSpec(
    ladder=(FRAMES,),
    overlap=1,
    audio_lookahead=LOOKAHEAD_FRAMES,
    audio_left_context=0,
)


class CalibrationError(ExportError):
    """A portrait or speech cannot be used; the text is one line."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whom to animate, and saying what: files."""

    portrait: Path
    speech: Path

    def digest(self) -> str:
        """Returns a name for the two and for the code that animates, the gateway's own."""
        digest = hashlib.sha256(sources.digest(__name__).encode())
        for path in (self.portrait, self.speech):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def check(self) -> None:
        """Reads both files.

        Raises:
            CalibrationError: one cannot be used.
        """
        self.picture()
        self.samples()

    def picture(self) -> Picture:
        """Returns the portrait in the size of the calibration."""
        return read_picture(self.portrait, SIDE_PX, SIDE_PX)

    def samples(self) -> Samples:
        """Returns the speech where it is loudest, mono, 16 kHz; recordings begin silent."""
        try:
            samples, rate = soundfile.read(self.speech, dtype="float32", always_2d=True)
        except (OSError, soundfile.LibsndfileError) as error:
            raise CalibrationError(f"{self.speech}: {error}") from error
        resampler = Resampler(rate)
        mono = np.concatenate([resampler.push(samples.mean(axis=1)), resampler.finish()])
        if len(mono) < SAMPLES:
            raise CalibrationError(
                f"{self.speech}: {len(mono) / MODEL_RATE_HZ:.2f} s of speech; "
                f"at least {SAMPLES / MODEL_RATE_HZ:.2f} s are needed"
            )
        energy = np.concatenate([[0.0], np.cumsum(np.square(mono, dtype=np.float64))])
        stretches = energy[SAMPLES:] - energy[:-SAMPLES]
        start = int(stretches.argmax())
        if not stretches[start] >= SAMPLES * VARIANCE_FLOOR:
            raise CalibrationError(f"{self.speech}: is silent; speech is needed")
        return mono[start : start + SAMPLES]


def read_picture(file: Path, width: int, height: int) -> Picture:
    """Returns a portrait as the server crops it, [height, width, 3].

    Raises:
        CalibrationError: it is no picture.
    """
    try:
        image = decode_portrait(file.read_bytes(), max_pixels=MAX_PIXELS, field=str(file))
    except OSError as error:
        raise CalibrationError(f"{file}: {error.strerror}") from error
    except InvalidFieldError as error:
        raise CalibrationError(str(error)) from error
    return cropped(image, width, height)[0]


def largest_inputs(checkpoint: Checkpoint, calibration: Calibration) -> dict[str, float]:
    """Returns the largest absolute input of every layer that becomes 8 bits wide, by its name.

    One window is animated with the variant's defaults, by the networks in float32 (umT5 in bf16).

    Raises:
        CalibrationError: the portrait or the speech cannot be used.
        CheckpointError: the checkpoint cannot be used.
    """
    picture, samples = calibration.picture(), calibration.samples()
    seen = _Largest()
    asyncio.run(_animate(checkpoint, seen, picture, samples))
    return seen.inputs


class _Largest:
    """Builds networks, one at a time in memory, and watches the layers of the denoiser."""

    def __init__(self) -> None:
        self.inputs: dict[str, float] = {}
        self._held: tuple[str, nn.Module] | None = None

    def module(self, builds: Mapping[str, Build], checkpoint: Checkpoint, name: str) -> nn.Module:
        """Returns a network; what was held before is let go."""
        if self._held is None or self._held[0] != name:
            self._held = None
            self._held = name, builds[name](checkpoint).module
            if name == "denoiser":
                for layer_name, layer in layers_in_fp8(self._held[1]).items():
                    layer.register_forward_pre_hook(self._watch(layer_name))
        return self._held[1]

    def _watch(self, name: str) -> Any:
        def hook(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            largest = float(inputs[0].abs().max())
            self.inputs[name] = max(self.inputs.get(name, 0.0), largest)

        return hook


async def _animate(
    checkpoint: Checkpoint, seen: _Largest, picture: Picture, samples: Samples
) -> None:
    builds = networks(checkpoint, "fp32", others={"text_encoder": "bf16"})
    engine = TorchEngine(lambda name: seen.module(builds, checkpoint, name))
    settings = VARIANT_DEFAULTS[checkpoint.variant]
    mask = everywhere(SIDE_PX, SIDE_PX)
    how = generation(settings, checkpoint.variant, mask)
    tokenize = PromptTokenizer(checkpoint.existing(layout.TOKENIZER))
    conditioner = Conditioner(engine, tokenize, ByteCache(0))
    negative = settings.negative_prompt if needs_negative_text(how.guidance) else None
    avatar = await conditioner.avatar(picture, settings.prompt, negative)
    timeline = AudioTimeline(AudioBudget(SAMPLES + 1))
    await timeline.finish(samples, SAMPLES)
    direction, noise = await direct(engine, avatar, how), seeded_noise(settings.seed)
    # The first window.
    await anext(
        animate(engine, conditioner, picture, timeline, WINDOWS, lambda _: direction, noise)
    )
