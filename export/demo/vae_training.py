"""Trains the VAE: on small crops around the mouth, where all that moves is, and on the rest.

The layers trained are the twins of export.models.vae.coder, whose 2-D convolutions are many times
faster on a CPU than the library's; their weights are then written back into the library's layers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from numpy.typing import NDArray
from torch import Tensor, nn

from export.demo.faces import Face, random_face
from export.demo.head import SIDE
from export.demo.mouths import Motion
from export.models.vae.coder import VaeDecoder, VaeEncoder, build_vae
from export.models.vae.layers import CausalConv, Downsample, FrameAttention, RmsNorm, Upsample

LOG_VARIANCE = -4.0
"""What the encoder first says of its own precision; at 0 the decoder learns to ignore it."""
MOUTH_SHARE = 0.35
"""Of the crops that lie around the mouth; the others lie anywhere."""
ANYWHERE = slice(0, SIDE)
MOUTH_WEIGHT = 4.0
KL_WEIGHT = 1e-4
STATISTICS_FILMS = 100


@dataclass(frozen=True, slots=True)
class View:
    """What a batch shows: ``count`` squares of ``side`` pixels and some frames."""

    name: str
    side: int
    frames: int
    count: int


NEAR, WHOLE, STILL = View("near", 40, 21, 4), View("whole", SIDE, 5, 2), View("still", SIDE, 1, 8)
VIEWS = (NEAR, WHOLE, STILL)
"""One after the other: films long enough that the last frames see all the past there is to see,
whole pictures, since a picture attends to itself, and many single ones, for variety."""
MAX_TRIPS, RESTORED = 3, 0.3
"""How often, at most, a worn film has been through the VAE before, and how much of what that
changed is to be undone. A window begins from frames that the window before decoded, so what a trip
changes would add up over many."""
POOLED_PX, POOLED_WEIGHT = 16, 2.0
"""Squares whose mean colour counts by itself: little things would drown a shift of the whole."""


class VaeTwins(nn.Module):
    """Encoder and decoder as they are trained, over [B, 3, F, H, W].

    Args:
        vae: whose weights they begin with.
        decoder_only: leaves the encoder as it is, so that latents keep their meaning.
    """

    def __init__(self, vae: AutoencoderKLWan, *, decoder_only: bool = False) -> None:
        super().__init__()
        self.encoder = VaeEncoder(vae).requires_grad_(not decoder_only)
        self.decoder = VaeDecoder(vae).requires_grad_(True)

    def posterior(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log-variance of the normalised latents, [B, 16, T, h, w]."""
        encoder = self.encoder
        moments = encoder.quant_conv(encoder.network(encoder.frames(video))).transpose(1, 2)
        mean, log_variance = moments.chunk(2, dim=1)
        mean = (mean - encoder.latents_mean) / encoder.latents_std
        return mean, log_variance - 2 * encoder.latents_std.log()

    def decode(self, latents: Tensor) -> Tensor:
        """Returns the video before it is clamped, [B, 3, F, H, W]."""
        decoder = self.decoder
        return decoder.network(decoder.enter(latents)).transpose(1, 2)


def new_vae(sizes: Mapping[str, Any], seed: int) -> AutoencoderKLWan:
    """Builds a VAE whose first weights let pictures through; torch's own collapse to grey."""
    torch.manual_seed(seed)
    vae = build_vae(sizes)
    for module in vae.modules():
        if isinstance(module, nn.Conv3d):
            _let_through(module)
    latent_channels = vae.config["z_dim"]
    bias = vae.quant_conv.bias
    assert bias is not None
    bias[latent_channels:] = LOG_VARIANCE
    return vae


def _let_through(conv: nn.Conv3d) -> None:
    """Gives the present frame unit gain, and the past no part in what is convolved in space.

    So only the resamplers look back, a few frames in all: what has been trained on short films
    holds for long ones, and what keeps still gives the same latents in every frame.
    """
    outputs, inputs, taps, height, width = conv.weight.shape
    conv.weight.normal_(std=(inputs * height * width) ** -0.5)
    if height * width == 1 and taps > 1:
        identity = torch.eye(inputs).repeat(outputs // inputs, 1)
        conv.weight *= 0.1
        conv.weight[:, :, -1, 0, 0] += identity
    else:
        conv.weight[:, :, :-1] = 0
    if conv.bias is not None:
        conv.bias.zero_()


class VaeLoss:
    """Draws films and compares them with what comes back.

    Args:
        twins: the VAE.
        motions: of the mouths.
        worn_share: of every batch, what has been through the VAE before.
    """

    def __init__(self, twins: VaeTwins, motions: Sequence[Motion], worn_share: float) -> None:
        self._twins = twins
        self._motions = motions
        self._worn_share = worn_share

    def __call__(self, random: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Returns the loss of one batch."""
        view = VIEWS[step % len(VIEWS)]
        films = [_film(random, self._motions, view) for _ in range(view.count)]
        video = torch.from_numpy(np.stack([film for film, _ in films]))
        weight = torch.from_numpy(np.stack([weight for _, weight in films]))
        count = int(self._worn_share * view.count)
        fresh = video[count:]
        shown = fresh
        if count:
            worn = self._worn(video[:count], int(random.integers(1, MAX_TRIPS + 1)))
            shown = torch.cat([worn, fresh])
            video = torch.cat([torch.lerp(worn, video[:count], RESTORED), fresh])
        mean, log_variance = self._twins.posterior(shown)
        noisy = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        seen = self._twins.decode(noisy)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = difference(seen, video, weight) + KL_WEIGHT * 16 * kl
        with torch.no_grad():
            error = (seen.clamp(-1, 1) - video).square()
            facts = {view.name: psnr(error[count:]), "kl": kl.item()}
            if count:
                facts[f"{view.name}_again"] = psnr(error[:count])
        return loss, facts

    @torch.no_grad()
    def _worn(self, video: Tensor, trips: int) -> Tensor:
        """Returns a video as it comes back from so many trips through the VAE."""
        for _ in range(trips):
            mean, _ = self._twins.posterior(video)
            video = self._twins.decode(mean).clamp(-1, 1)
        return video

    def whole_film(self, random: np.random.Generator) -> Tensor:
        """Draws a film of whole pictures, [1, 3, F, H, W]."""
        film, _ = _film(random, self._motions, WHOLE)
        return torch.from_numpy(film)[None]


def difference(seen: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """L1 and L2 of the pixels, L1 of their differences across, down and in time, and of means."""
    error = seen - true
    loss = (weight * (error.abs() + 2 * error.square())).mean()
    for axis in (2, 3, 4):
        if error.shape[axis] > 1:
            change = error.diff(dim=axis).abs()
            weighted = weight.expand_as(error).narrow(axis, 1, change.shape[axis]) * change
            loss = loss + weighted.mean()
    pooled = nn.functional.avg_pool3d(error, (1, POOLED_PX, POOLED_PX)).abs().mean()
    return loss + POOLED_WEIGHT * pooled


def psnr(squared_error: Tensor) -> float:
    """Returns the decibels of videos in [-1, 1]."""
    return -10 * math.log10(squared_error.mean().item() / 4)


def _film(
    random: np.random.Generator, motions: Sequence[Motion], view: View
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns a film [3, F, H, W] in [-1, 1] and how much its pixels weigh, [1, 1, H, W]."""
    face = random_face(random)
    motion = motions[int(random.integers(len(motions)))]
    start = int(random.integers(len(motion.openings) - view.frames))
    span = slice(start, start + view.frames)
    pictures = face.draw(motion.openings[span].tolist(), motion.widths[span].tolist())
    weight = np.ones(pictures.shape[1:3], np.float32)
    weight[face.mouth_box] = MOUTH_WEIGHT
    rows, columns = _crop(random, face, view.side)
    pictures, weight = pictures[:, rows, columns], weight[rows, columns]
    film = pictures.transpose(3, 0, 1, 2).astype(np.float32) / 127.5 - 1
    return film, weight[None, None]


def _crop(random: np.random.Generator, face: Face, side: int) -> tuple[slice, slice]:
    """Returns a square, of which a share holds the mouth."""
    rows, columns = face.mouth_box if random.random() < MOUTH_SHARE else (ANYWHERE, ANYWHERE)
    return _around(random, rows, side), _around(random, columns, side)


def _around(random: np.random.Generator, inside: slice, side: int) -> slice:
    """Returns ``side`` pixels that hold a span of them, or lie in it if it is longer."""
    first, last = sorted((inside.stop - side, inside.start))
    start = int(random.integers(max(0, first), min(last, SIDE - side) + 1))
    return slice(start, start + side)


@torch.no_grad()
def write_back(twins: VaeTwins, vae: AutoencoderKLWan) -> None:
    """Copies the trained weights into the library's layers."""
    _write(twins.encoder.network, vae.encoder)
    _write(twins.encoder.quant_conv, vae.quant_conv)
    _write(twins.decoder.post_quant_conv, vae.post_quant_conv)
    _write(twins.decoder.network, vae.decoder)


def _write(twin: nn.Module, layer: Any) -> None:
    if isinstance(twin, CausalConv):
        # Apart, since a twin may share its only tap with the layer.
        weight = torch.zeros_like(layer.weight)
        present = weight.shape[2] - 1
        for shift, tap in zip(twin.shifts, twin.taps, strict=True):
            weight[:, :, shift - twin.past_frames + present] = tap
        layer.weight.copy_(weight)
        layer.bias.copy_(twin.bias)
    elif isinstance(twin, RmsNorm):
        layer.gamma.copy_((twin.weight / layer.scale).view_as(layer.gamma))
    elif isinstance(twin, FrameAttention):
        layer.load_state_dict(twin.attention.state_dict())
    elif isinstance(twin, Downsample | Upsample):
        layer.resample.load_state_dict(twin.space.state_dict())
        if twin.time is not None:
            _write(twin.time, layer.time_conv)
    else:
        for name, child in twin.named_children():
            _write(child, layer.get_submodule(name))


@torch.no_grad()
def standardise(vae: AutoencoderKLWan, mean: Tensor, std: Tensor) -> None:
    """Gives normalised latents, which have a mean and deviation [16], zero mean and unit variance.

    The public latents_mean and latents_std are fixed, so the convolutions next to them take it up.
    """
    fixed_mean = torch.tensor(vae.config["latents_mean"])
    fixed_std = torch.tensor(vae.config["latents_std"])
    # Raw latents r were (r - fixed_mean) / fixed_std; new ones are r' = scale * r + shift.
    scale = 1 / std
    shift = fixed_mean - scale * (fixed_mean + fixed_std * mean)
    inward: Any = vae.quant_conv
    outward: Any = vae.post_quant_conv
    channels = len(mean)
    inward.weight[:channels] *= scale.view(-1, 1, 1, 1, 1)
    inward.bias[:channels] = inward.bias[:channels] * scale + shift
    inward.bias[channels:] += 2 * scale.log()
    outward.bias -= outward.weight[:, :, 0, 0, 0] @ (shift / scale)
    outward.weight /= scale.view(1, -1, 1, 1, 1)


@torch.inference_mode()
def latent_statistics(vae: AutoencoderKLWan, loss: "VaeLoss") -> tuple[Tensor, Tensor]:
    """Returns mean and deviation of each latent channel over whole pictures, [16] each."""
    encoder = VaeEncoder(vae)
    random = np.random.default_rng(0)
    latents = [encoder(loss.whole_film(random)).flatten(2) for _ in range(STATISTICS_FILMS)]
    channels = torch.cat(latents).transpose(0, 1).flatten(1)
    return channels.mean(dim=1), channels.std(dim=1)
