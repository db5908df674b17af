"""What the denoiser learns from: windows of talking, as the server would have them.

A window's picture of the past is what the server would show: the portrait at first, later the last
frames of the window before, which the VAE has been through.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.demo.faces import Face, random_face
from export.demo.hearing import SPEC, HeardWindow, heard_windows
from export.demo.mouths import Motion, motion
from export.demo.voices import TRAINING, utterance
from export.models.audio_encoder import AudioEncoder
from export.models.image_encoder import ImageEncoder
from export.models.vae.coder import VaeDecoder, VaeEncoder
from server.animation.condition import fold_mask
from server.audio.frame_rate import heard_frames
from server.triton.contract import PIXELS_PER_LATENT

UTTERANCE_S = 6.0
FIRST_SHARE = 0.3
"""Of the windows that are the first of a stream."""
CONTINUED_SHARE = 0.25
"""Of those, the ones that go on from an open mouth, as after an interruption."""
WORN_SHARE, WORN_NOISE = 0.8, 0.2
"""Of the later windows, those whose known frames are imperfect; noise on their latents."""
BRIGHTNESS = 0.02
CLOSED, AT_REST = 0.0, 0.5
"""Opening and width of a portrait's mouth."""
OPENING_RAMP = (0.0, 0.5)
"""How far a stream's first frames have left its portrait for the mouth that is heard."""
FILE_WINDOWS = 50


class TrainingWindow(NamedTuple):
    """A window without its batch dimension, in half precision but for the audio's index.

    Shapes: latents [16, T, h, w], condition [20, T, h, w], features [frames of the segment, 12, C],
    audio_index [F, 5], image_tokens [257, C], mouth [1, h, w], which is 1 where the mouth is.
    """

    latents: Tensor
    condition: Tensor
    features: Tensor
    audio_index: Tensor
    image_tokens: Tensor
    mouth: Tensor


@dataclass(frozen=True, slots=True)
class Encoders:
    """The networks around the denoiser."""

    audio: AudioEncoder
    image: ImageEncoder
    vae_encoder: VaeEncoder
    vae_decoder: VaeDecoder


def training_windows(
    encoders: Encoders, folder: Path, *, seed: int, count: int
) -> Iterator[list[TrainingWindow]]:
    """Yields windows by the file; files that an earlier run left in the folder are read."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, count, FILE_WINDOWS):
        path = folder / f"{first:06d}.pt"
        if not path.is_file():
            made = [
                tuple(training_window(encoders, np.random.default_rng([seed, index])))
                for index in range(first, first + FILE_WINDOWS)
            ]
            partial = path.with_suffix(".partial")
            torch.save(made, partial)
            partial.replace(path)
        yield [TrainingWindow(*tensors) for tensors in torch.load(path, weights_only=True)]


@torch.inference_mode()
def training_window(encoders: Encoders, random: np.random.Generator) -> TrainingWindow:
    """Draws a person, what they say, and one window of it."""
    torch.manual_seed(int(random.integers(2**31)))
    face = random_face(random)
    samples = utterance(random, TRAINING, UTTERANCE_S)
    windows = heard_windows(samples)
    is_first = random.random() < FIRST_SHARE
    heard = windows[0] if is_first else windows[random.integers(1, len(windows))]
    moved = _window_motion(heard, motion(samples), random)
    pictures = face.draw(moved.openings.tolist(), moved.widths.tolist())
    latents = _encoded(encoders, pictures, len(pictures))
    known = pictures[:1] if is_first else _known(encoders, latents, pictures, random)
    features = encoders.audio(*heard.inputs())[0]
    offset, frames = heard.window.start - heard.segment.start, heard.window.frames
    portrait = face.draw([CLOSED], [AT_REST])
    return TrainingWindow(
        latents=latents[0].half(),
        condition=_condition(encoders, known, frames).half(),
        features=features.half(),
        audio_index=torch.from_numpy(heard_frames(offset, frames, len(features))),
        image_tokens=encoders.image(torch.from_numpy(portrait))[0].half(),
        mouth=_mouth(face).half(),
    )


def _window_motion(heard: HeardWindow, whole: Motion, random: np.random.Generator) -> Motion:
    """Returns the motion in a window; a stream's first leaves the picture that it begins with."""
    start = heard.window.start - heard.segment.start
    span = slice(start, start + heard.window.frames)
    openings, widths = heard.values(whole.openings)[span], heard.values(whole.widths)[span]
    if heard.window.index == 0:
        continued = random.random() < CONTINUED_SHARE
        before = (random.uniform(0, 1), random.uniform(0, 1)) if continued else (CLOSED, AT_REST)
        for frame, share in enumerate(OPENING_RAMP):
            openings[frame] = before[0] + share * (openings[frame] - before[0])
            widths[frame] = before[1] + share * (widths[frame] - before[1])
    return Motion(openings, widths)


def _known(
    encoders: Encoders,
    latents: Tensor,
    pictures: NDArray[np.uint8],
    random: np.random.Generator,
) -> NDArray[np.uint8]:
    """Returns the frames that a window is told, mostly as the VAE shows them and a little off."""
    if random.random() > WORN_SHARE:
        return pictures[: SPEC.overlap]
    head = latents[:, :, : (SPEC.overlap - 1) // 4 + 1]
    noise = random.uniform(0, WORN_NOISE) * torch.randn_like(head)
    _, video = encoders.vae_decoder(head + noise)
    video = video[0].permute(1, 2, 3, 0).numpy() + random.normal(0, BRIGHTNESS)
    return np.clip((video + 1) * 127.5, 0, 255).astype(np.uint8)


def _condition(encoders: Encoders, known: NDArray[np.uint8], frames: int) -> Tensor:
    latents = _encoded(encoders, known, frames)[0]
    mask = torch.from_numpy(fold_mask(len(known), frames))[:, :, None, None]
    return torch.cat([mask.expand(-1, -1, *latents.shape[2:]), latents])


def _encoded(encoders: Encoders, known: NDArray[np.uint8], frames: int) -> Tensor:
    grey = torch.zeros(1, frames - len(known))
    return encoders.vae_encoder(torch.from_numpy(known)[None], grey)


def _mouth(face: Face) -> Tensor:
    side = face.still.shape[0] // PIXELS_PER_LATENT
    mouth = torch.zeros(1, side, side)
    rows, columns = (
        slice(edge.start // PIXELS_PER_LATENT, -(-edge.stop // PIXELS_PER_LATENT))
        for edge in face.mouth_box
    )
    mouth[:, rows, columns] = 1
    return mouth
