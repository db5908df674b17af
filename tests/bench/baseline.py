"""The same weights, size, windows and steps: plain PyTorch as the authors run it, and this server.

PyTorch runs eagerly in this process and leaves out what the server does besides: no JPEG, no gRPC.
"""

import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from client.demo.media import PORTRAIT
from echomimic_client.aio import AsyncAvatarClient
from echomimic_client.audio import AudioClip
from echomimic_client.choices import GenerationSettings, TeaCache, VideoFormat
from export.checkpoint.layout import Checkpoint
from export.models.denoiser.audio_flash import neighbours
from export.networks.catalogue import networks
from export.networks.vae import wan_vae
from server.pictures.portrait import cropped
from server.triton.contract import TEXT_TOKENS, Arrays, Network
from server.triton.engine import Engine, Priority
from tests.bench.streams import gateway, speech
from tests.support.talking import SIDE, SPEC, film

FRAMES = 33
SPEC_OF_ONE_LENGTH = replace(SPEC, ladder=(FRAMES,))
TEACACHE = TeaCache(threshold=0.1, warm_up=3)
AGAIN = ("text_encoder", "image_encoder")
"""What does not change from window to window, and is computed again for each."""


@dataclass(frozen=True)
class Plan:
    """How much is said in a run, and the order of the ways."""

    speech_s: float = 17.0
    order: Sequence[str] = ("pytorch", "server", "teacache", "teacache", "server", "pytorch")


QUICK = Plan(speech_s=0.4, order=("pytorch", "server"))


@dataclass(frozen=True)
class Run:
    """A way of animating.

    Attributes:
        way: which.
        frames: that came.
        wall_s: from the first audio to the last frame.
        networks_s: what PyTorch's networks took of that.
    """

    way: str
    frames: int
    wall_s: float
    networks_s: Mapping[str, float]


class AuthorsEngine(Engine):
    """Runs networks as the authors' program does, a window at a time.

    Two calls a step, each with all that it is told; the library's VAE, over the whole video; the
    portrait and the prompt encoded again for every window.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        builds = networks(checkpoint)
        names = (*AGAIN, "audio_encoder", "denoiser")
        self._modules: Mapping[str, Any] = {name: builds[name](checkpoint).module for name in names}
        self._vae = wan_vae(checkpoint)
        self._mean, self._std = (
            torch.tensor(self._vae.config[name]).view(1, -1, 1, 1, 1)
            for name in ("latents_mean", "latents_std")
        )
        self._again: dict[str, Sequence[Tensor]] = {}
        self.spent_s: defaultdict[str, float] = defaultdict(float)

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        given = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
        with torch.inference_mode():
            match network.name:
                case "denoiser":
                    result = self._timed("denoiser", self._velocities, **given)
                case "vae_encoder":
                    for name, tensors in self._again.items():
                        self._timed(name, self._modules[name], *tensors)
                    result = self._timed("vae_encoder", self._latents, **given)
                case "vae_decoder":
                    result = self._timed("vae_decoder", self._frames, **given)
                case name:
                    tensors = [given[tensor.name] for tensor in network.inputs]
                    result = self._timed(name, self._modules[name], *tensors)
                    if name in AGAIN:
                        self._again[name] = tensors
        name, *_ = outputs or (network.outputs[0].name,)
        return {name: result.numpy()}

    def _timed(
        self, name: str, compute: Callable[..., Tensor], *tensors: Tensor, **named: Tensor
    ) -> Tensor:
        began_s = time.monotonic()
        result = compute(*tensors, **named)
        self.spent_s[name] += time.monotonic() - began_s
        return result

    def _velocities(
        self,
        latents: Tensor,
        condition: Tensor,
        timestep: Tensor,
        text: Tensor,
        image_tokens: Tensor,
        audio: Tensor,
        audio_gain: Tensor,
    ) -> Tensor:
        denoiser, frames = self._modules["denoiser"], latents.shape[2]
        whole_text = pad(text, (0, 0, 0, TEXT_TOKENS - text.shape[1]))
        shared = (latents, condition, timestep, whole_text, image_tokens)
        calls = [
            denoiser.evaluate(*shared, neighbours(audio * gain, frames))[0]
            for gain in audio_gain[0]
        ]
        return torch.stack(calls, dim=1)

    def _latents(self, known: Tensor, grey: Tensor) -> Tensor:
        pictures = known.float().permute(0, 4, 1, 2, 3) / 127.5 - 1
        levels = grey[:, None, :, None, None].expand(-1, 3, -1, *pictures.shape[3:])
        encoded: Any = self._vae.encode(torch.cat((pictures, levels), dim=2))
        return (encoded.latent_dist.mode() - self._mean) / self._std

    def _frames(self, latents: Tensor) -> Tensor:
        decoded: Any = self._vae.decode(latents * self._std + self._mean)
        video = (decoded.sample.clamp(-1, 1) / 2 + 0.5).clamp(0, 1) * 255
        return video.permute(0, 2, 3, 4, 1).to(torch.uint8)


async def by_pytorch(engine: Engine, repository: Path, clip: AudioClip) -> int:
    """Makes a film of the demo's portrait; returns its frames."""
    with Image.open(PORTRAIT) as image:
        picture, _ = cropped(image.convert("RGB"), SIDE, SIDE)
    return len(await film(engine, repository, picture, clip.mono(), spec=SPEC_OF_ONE_LENGTH))


async def by_server(address: str, clip: AudioClip, teacache: TeaCache | None) -> int:
    """Streams the same, all speech at once; returns the frames that came."""
    generation = GenerationSettings(teacache=teacache)
    async with AsyncAvatarClient(address) as client:
        animation = client.animate(
            PORTRAIT.read_bytes(), clip, video=VideoFormat(), generation=generation
        )
        return len([frame async for frame in animation])


async def measure(plan: Plan, checkpoint: Path, repository: Path, folder: Path) -> list[Run]:
    """Measures one way after the other, and back again."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    engine, clip = AuthorsEngine(Checkpoint(checkpoint)), speech(plan.speech_s)
    async with gateway(repository, folder, "--window-ladder", str(FRAMES)) as (address, _):
        ways: Mapping[str, Callable[[AudioClip], Awaitable[int]]] = {
            "pytorch": lambda said: by_pytorch(engine, repository, said),
            "server": lambda said: by_server(address, said, None),
            "teacache": lambda said: by_server(address, said, TEACACHE),
        }
        for way in dict.fromkeys(plan.order):
            await ways[way](speech(min(1.0, plan.speech_s)))
        found: list[Run] = []
        for way in plan.order:
            engine.spent_s.clear()
            began_s = time.monotonic()
            frames = await ways[way](clip)
            found.append(Run(way, frames, time.monotonic() - began_s, dict(engine.spent_s)))
            print(f"{way}: {frames / found[-1].wall_s:.1f} frames/s", flush=True)
    return found
