"""Trains a small decoder for the latents of a VAE that is trained already.

Films are drawn and encoded once. Every step decodes crops of their latents, so that a step costs
little more than the small decoder itself.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from export.demo.faces import random_face
from export.demo.mouths import Motion
from export.demo.vae_training import MOUTH_SHARE, MOUTH_WEIGHT, difference, psnr
from export.models.vae.coder import Decoder, VaeEncoder
from server.triton.contract import PIXELS_PER_LATENT

FRAMES = 13
CROP = 6
"""Latents along a side of a crop."""
BATCH = 4
NOISE = 0.1
"""Deviation of what is added to latents, at most: those of a denoiser are off, too."""


class Film(NamedTuple):
    """A film [3, F, H, W] of bytes, its latents [16, T, h, w], and where its mouth is."""

    pictures: Tensor
    latents: Tensor
    mouth: tuple[slice, slice]


@torch.inference_mode()
def film(random: np.random.Generator, motions: Sequence[Motion], encoder: VaeEncoder) -> Film:
    """Draws somebody who talks."""
    face = random_face(random)
    motion = motions[int(random.integers(len(motions)))]
    start = int(random.integers(len(motion.openings) - FRAMES))
    span = slice(start, start + FRAMES)
    drawn = face.draw(motion.openings[span].tolist(), motion.widths[span].tolist())
    pictures = torch.from_numpy(drawn)
    latents = encoder(pictures[None], torch.zeros(1, 0))[0].clone()
    return Film(pictures.permute(3, 0, 1, 2), latents, face.mouth_box)


class LightDecoderLoss:
    """Compares crops of films with what a decoder makes of their latents."""

    def __init__(self, decoder: Decoder, films: Sequence[Film]) -> None:
        self._decoder = decoder
        self._films = films

    def __call__(self, random: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Returns the loss of one batch."""
        crops = [self._crop(random) for _ in range(BATCH)]
        latents, video, weight = (torch.stack(tensors) for tensors in zip(*crops, strict=True))
        noise = float(random.uniform(0, NOISE))
        noisy = latents + noise * torch.from_numpy(
            random.standard_normal(latents.shape, dtype=np.float32)
        )
        decoder = self._decoder
        seen = decoder.signal(decoder.network(decoder.enter(noisy))).transpose(1, 2)
        with torch.no_grad():
            facts = {"psnr": psnr((seen.clamp(-1, 1) - video).square())}
        return difference(seen, video, weight), facts

    def _crop(self, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Returns latents [16, T, h, w], video [3, F, H, W] in [-1, 1] and weights [1, 1, H, W]."""
        drawn = self._films[int(random.integers(len(self._films)))]
        on_mouth = random.random() < MOUTH_SHARE
        side = drawn.latents.shape[-1]
        first = [
            min(side - CROP, max(0, edge.start // PIXELS_PER_LATENT - int(random.integers(2))))
            if on_mouth
            else int(random.integers(side - CROP + 1))
            for edge in drawn.mouth
        ]
        rows, columns = (slice(start, start + CROP) for start in first)
        seen = tuple(
            slice(start * PIXELS_PER_LATENT, (start + CROP) * PIXELS_PER_LATENT) for start in first
        )
        weight = torch.ones(1, 1, *drawn.pictures.shape[2:])
        weight[:, :, *drawn.mouth] = MOUTH_WEIGHT
        video = drawn.pictures[:, :, *seen].float() / 127.5 - 1
        return drawn.latents[:, :, rows, columns], video, weight[:, :, *seen]
