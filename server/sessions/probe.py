"""A known good piece of work, to see whether networks run: one frame of silence."""

import math
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from PIL import Image

from server.animation.cache import ByteCache
from server.animation.condition import Conditioner
from server.animation.economy import Economy
from server.animation.generation import direct, seeded_noise
from server.animation.pipeline import animate
from server.animation.teacache import TeaCache
from server.animation.tokens import PromptTokenizer
from server.animation.variant import generation, needs_negative_text
from server.arrays import FloatArray
from server.audio.clock import MODEL_SAMPLES_PER_FRAME
from server.audio.timeline import AudioBudget, AudioTimeline
from server.pictures.face import everywhere, find_face
from server.sessions.jobs import Offer
from server.triton.contract import (
    LATENT_CHANNELS,
    LIGHT_DECODER,
    PIXELS_PER_LATENT,
    PORTRAIT_NETWORKS,
    Arrays,
    Network,
    latent_frames,
)
from server.triton.engine import Engine, Priority, Results


class Probe:
    """Animates one frame of silence at the smallest size, with nothing cached but the prompt."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: PromptTokenizer,
        offer: Offer,
        encoded: Mapping[str, FloatArray] = MappingProxyType({}),
    ) -> None:
        """Begins with nothing known; the arguments are those of the gateway."""
        self._engine = _SparingEngine(engine)
        self._tokenizer = tokenizer
        self._offer = offer
        self._encoded = encoded

    async def run(self, networks: Collection[str]) -> None:
        """Tries networks; of the others only those run that never have.

        Two steps are taken, and TeaCache skips the second, so that every network has its turn. The
        portrait and the prompt are new each time: a Triton that caches answers would give those of
        a dead network.

        Args:
            networks: the names of those to be tried.

        Raises:
            EngineUnavailableError, ExecutionError: a network cannot be run now.
        """
        self._engine.tried = networks
        offer = self._offer
        settings = replace(
            offer.generation, steps=2, teacache=TeaCache(threshold=math.inf, warm_up=1)
        )
        width, height = min(offer.sizes, key=lambda size: size[0] * size[1])
        how = generation(settings, offer.manifest.variant, everywhere(width, height))
        # New like the portrait, where any prompt can be encoded.
        fresh = secrets.token_hex(3)
        prompt = fresh if offer.offers_prompt(fresh) else offer.generation.prompt
        conditioner = Conditioner(self._engine, self._tokenizer, ByteCache(0), self._encoded)
        avatar = await conditioner.avatar(
            np.tile(np.frombuffer(secrets.token_bytes(3), np.uint8), (height, width, 1)),
            prompt,
            prompt if needs_negative_text(how.guidance) else None,
        )
        if offer.manifest.variant == "preview":
            await find_face(self._engine, Image.fromarray(avatar.picture))
        for name in PORTRAIT_NETWORKS.keys() & offer.manifest.networks.keys():
            await self._look(PORTRAIT_NETWORKS[name])
        timeline = AudioTimeline(AudioBudget(1))
        await timeline.finish(np.zeros(0, np.float32), length=MODEL_SAMPLES_PER_FRAME)
        direction = await direct(self._engine, avatar, how)
        # What streams may be lowered to is enough.
        economy = Economy(offer.rungs((width, height)), lambda _: None)
        async for _ in animate(
            economy.parting(self._engine),
            conditioner,
            avatar.picture,
            timeline,
            offer.windows,
            lambda _: direction,
            seeded_noise(settings.seed),
            economy=economy,
        ):
            pass
        if offer.has_light_decoder:
            await self._decode_lightly(width, height)

    async def _decode_lightly(self, width: int, height: int) -> None:
        """Runs the lighter decoder on noise, which is new like the portrait."""
        frames = latent_frames(self._offer.windows.first)
        sides = height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT
        noise = seeded_noise(secrets.randbits(64))((1, LATENT_CHANNELS, frames, *sides))
        await self._engine.run(LIGHT_DECODER, {"latents": noise}, ["frames"])

    async def _look(self, network: Network) -> None:
        """Runs a network that sees a picture, which need not show a face."""
        (image,) = network.inputs
        dims = [dim for dim in image.dims if isinstance(dim, int)]
        picture = np.frombuffer(secrets.token_bytes(math.prod(dims)), np.uint8)
        await self._engine.run(network, {image.name: picture.reshape(1, *dims)})


class _SparingEngine(Engine):
    """Runs the networks that are tried; for others, numbers of the shapes that they gave before."""

    def __init__(self, engine: Engine) -> None:
        self.tried: Collection[str] = ()
        self._engine = engine
        self._given: dict[tuple[object, ...], Results] = {}

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        call = (network.name, outputs and tuple(outputs), *(a.shape for a in inputs.values()))
        if network.name not in self.tried and call in self._given:
            return self._given[call]
        results = await self._engine.run(
            network, inputs, outputs, priority=priority, timeout_s=timeout_s
        )
        # The first number everywhere: that takes no memory, and the networks do not mind.
        self._given[call] = {
            name: np.broadcast_to(array.flat[0], array.shape) for name, array in results.items()
        }
        return results
