"""Health: SERVING only while a real inference through every network succeeds.

A Triton whose stub process has died still calls itself ready, so nothing less than an inference
tells. It is tried at start, then at intervals, and at once when a call finds Triton gone.
"""

# These libraries' own annotations are missing or partial.
# pyright: reportMissingTypeStubs=false

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

import numpy as np
import structlog
from echomimic.v1 import avatar_service_pb2 as pb
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from PIL import Image

from server.animation.cache import ByteCache
from server.animation.condition import Conditioner, FloatArray
from server.animation.generation import seeded_noise
from server.animation.pipeline import animate
from server.animation.teacache import TeaCache
from server.animation.tokens import PromptTokenizer
from server.animation.variant import generation
from server.audio.clock import MODEL_SAMPLES_PER_FRAME
from server.audio.timeline import AudioBudget, AudioTimeline
from server.pictures.face import everywhere, find_face
from server.sessions.jobs import Offer
from server.triton.engine import Engine

AVATAR_SERVICE = pb.DESCRIPTOR.services_by_name["AvatarService"].full_name
RETRY_S = 2.0
FAILURES_TO_REPLACE = 2

log = structlog.get_logger()


async def probe(
    engine: Engine,
    tokenizer: PromptTokenizer,
    offer: Offer,
    encoded: Mapping[str, FloatArray] = MappingProxyType({}),
) -> None:
    """Animates one frame of silence at the smallest size, with nothing cached.

    It takes two steps, and TeaCache skips the second, so that every network has its turn. Portrait
    and prompt are new each time: a Triton that caches answers would give those of a dead network.

    Raises:
        EngineUnavailableError: a network cannot be run now.
    """
    conditioner = Conditioner(engine, tokenizer, ByteCache(0), encoded)
    width, height = min(offer.sizes, key=lambda size: size[0] * size[1])
    fresh = secrets.token_bytes(3)
    picture = np.tile(np.frombuffer(fresh, np.uint8), (height, width, 1))
    prompt = fresh.hex() if offer.offers_prompt(fresh.hex()) else offer.generation.prompt
    avatar = await conditioner.avatar(picture, prompt, prompt)
    timeline = AudioTimeline(AudioBudget(1))
    await timeline.finish(np.zeros(0, np.float32), length=MODEL_SAMPLES_PER_FRAME)
    settings = replace(offer.generation, steps=2, teacache=TeaCache(threshold=math.inf, warm_up=1))
    how = generation(
        settings, offer.manifest.variant, everywhere(width, height), seeded_noise(settings.seed)
    )
    if offer.manifest.variant == "preview":
        await find_face(engine, Image.fromarray(avatar.picture))
    async for _ in animate(engine, conditioner, avatar, timeline, offer.windows, how):
        pass


class Keeper(Protocol):
    """Keeps the Triton that the engine uses running, if it is our own."""

    async def ready(self) -> None:
        """Waits until a Triton is up."""
        ...

    def replace(self) -> None:
        """Says that inferences fail: this Triton is to be replaced."""
        ...


class HealthMonitor:
    """Keeps the status of grpc.health.v1 true, and has a Triton of our own replaced if need be."""

    def __init__(
        self,
        servicer: HealthServicer,
        try_engine: Callable[[], Awaitable[None]],
        keeper: Keeper | None,
        *,
        is_busy: Callable[[], bool],
        interval_s: float,
    ) -> None:
        """Says NOT_SERVING as soon as `run` has begun.

        Args:
            servicer: what clients ask.
            try_engine: raises when an inference fails.
            keeper: replaces a Triton whose inferences fail, if it is our own.
            is_busy: whether calls are running, which report a failure themselves.
            interval_s: how often to try while nothing else does.
        """
        self.begun = asyncio.Event()
        self.serving = False
        self._servicer = servicer
        self._try_engine = try_engine
        self._keeper = keeper
        self._is_busy = is_busy
        self._interval_s = interval_s
        self._suspected = asyncio.Event()
        self._failures = 0

    def suspect(self) -> None:
        """Says that the engine could not be used: it is tried again at once."""
        self._suspected.set()

    async def run(self) -> None:
        """Tries the engine again and again, until cancelled."""
        await self._set(False)
        self.begun.set()
        while True:
            if self._suspected.is_set():
                self._suspected.clear()
                await self._set(False)
            if not (self.serving and self._is_busy()):
                await self._try()
            await self._pause(self._interval_s if self.serving else RETRY_S)

    async def _try(self) -> None:
        if self._keeper:
            await self._keeper.ready()
        try:
            await self._try_engine()
        # Whatever an inference fails with, this server must not call itself healthy.
        except Exception as error:
            self._failures += 1
            log.warning("an inference failed", problem=str(error), times=self._failures)
            await self._set(False)
            if self._keeper and self._failures >= FAILURES_TO_REPLACE:
                self._failures = 0
                self._keeper.replace()
        else:
            self._failures = 0
            await self._set(True)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._suspected.wait()
        except TimeoutError:
            return

    async def _set(self, serving: bool) -> None:
        if serving != self.serving:
            log.info("health", serving=serving)
        self.serving = serving
        status = health_pb2.HealthCheckResponse.ServingStatus
        for service in ("", AVATAR_SERVICE):
            await self._servicer.set(service, status.SERVING if serving else status.NOT_SERVING)
