"""What the denoiser's layers are given while it animates somebody, from which FP8 takes its scales.

portrait, loudest stretches of the speech -> the gateway's own stages, every network in torch -> the
largest inputs
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from export import sources
from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.errors import ExportError
from export.networks.catalogue import networks
from export.networks.exportable import Build, Shape
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
from server.triton.contract import VAE_DECODER

FRAMES = 17
STRETCHES = 3
"""How many stretches of the speech are animated at most, each as the first window of a stream."""
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
    """Whom to animate, saying what, and how large: two files, width and height in pixels."""

    portrait: Path
    speech: Path
    size: tuple[int, int]

    def digest(self) -> str:
        """Returns a name for all that and for the code that animates, the gateway's own."""
        digest = hashlib.sha256(f"{sources.digest(__name__)} {self.size}".encode())
        for path in (self.portrait, self.speech):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def check(self) -> None:
        """Reads both files.

        Raises:
            CalibrationError: one cannot be used.
        """
        self.picture()
        self.stretches()

    def picture(self) -> Picture:
        """Returns the portrait in the size of the calibration."""
        return read_picture(self.portrait, *self.size)

    def stretches(self) -> list[Samples]:
        """Returns the speech where it is loudest, mono, 16 kHz, the loudest stretch first.

        There is one at least, of those that do not overlap; recordings begin silent.
        """
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
        starts = _loudest(mono)
        if not starts:
            raise CalibrationError(f"{self.speech}: is silent; speech is needed")
        return [mono[start : start + SAMPLES] for start in starts]


def _loudest(mono: Samples) -> list[int]:
    """Returns where the loudest stretches begin, of those that are not silent."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(mono, dtype=np.float64))])
    stretches = energy[SAMPLES:] - energy[:-SAMPLES]
    starts: list[int] = []
    while len(starts) < STRETCHES:
        start = int(stretches.argmax())
        if not stretches[start] >= SAMPLES * VARIANCE_FLOOR:
            break
        starts.append(start)
        # What overlaps it says little more.
        stretches[max(0, start - SAMPLES + 1) : start + SAMPLES] = -np.inf
    return starts


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

    Every stretch is animated with the variant's defaults, by the networks in float32 (umT5 in
    bf16).

    Raises:
        CalibrationError: the portrait or the speech cannot be used.
        CheckpointError: the checkpoint cannot be used.
    """
    picture, stretches = calibration.picture(), calibration.stretches()
    seen = _Largest()
    asyncio.run(_animate(checkpoint, seen, picture, stretches))
    return seen.inputs


class _Largest:
    """Builds networks, one at a time in memory, and watches the layers of the denoiser."""

    def __init__(self) -> None:
        self.inputs: dict[str, float] = {}
        self._held: tuple[str, nn.Module] | None = None

    def module(self, builds: Mapping[str, Build], checkpoint: Checkpoint, name: str) -> nn.Module:
        """Returns a network; what was held before is let go."""
        if name == VAE_DECODER.name:
            return _Blank()
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


class _Blank(nn.Module):
    """Stands for the decoder, the largest in memory: what a window looks like is of no matter."""

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        _, _, frames, height, width = latents.shape
        shape = Shape(1, frames, height, width)
        pictures = (1, shape.video_frames, *shape.picture, 3)
        return torch.zeros(pictures, dtype=torch.uint8), torch.empty(0)


async def _animate(
    checkpoint: Checkpoint, seen: _Largest, picture: Picture, stretches: Sequence[Samples]
) -> None:
    builds = networks(checkpoint, "fp32", others={"text_encoder": "bf16"})
    engine = TorchEngine(lambda name: seen.module(builds, checkpoint, name))
    settings = VARIANT_DEFAULTS[checkpoint.variant]
    height, width = picture.shape[:2]
    mask = everywhere(width, height)
    how = generation(settings, checkpoint.variant, mask)
    tokenize = PromptTokenizer(checkpoint.existing(layout.TOKENIZER))
    conditioner = Conditioner(engine, tokenize, ByteCache(0))
    negative = settings.negative_prompt if needs_negative_text(how.guidance) else None
    avatar = await conditioner.avatar(picture, settings.prompt, negative)
    direction, noise = await direct(engine, avatar, how), seeded_noise(settings.seed)
    for samples in stretches:
        timeline = AudioTimeline(AudioBudget(SAMPLES + 1))
        await timeline.finish(samples, SAMPLES)
        # The first window.
        await anext(
            animate(engine, conditioner, picture, timeline, WINDOWS, lambda _: direction, noise)
        )
