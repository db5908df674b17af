"""The process: gRPC server, health, engine, Triton."""

# These libraries' own annotations are missing or partial.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import asyncio
import signal

import structlog
from grpc_health.v1._async import HealthServicer

from server.animation.styles import encoded_prompts
from server.animation.tokens import PromptTokenizer
from server.api.health import HealthMonitor, probe
from server.api.listener import bind, make_server
from server.api.service import AvatarService
from server.manifest import TOKENIZER, read_manifest
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from server.settings import Settings
from server.triton.client import TritonEngine
from server.triton.keeper import TritonKeeper

log = structlog.get_logger()

LAST_WORDS_S = 0.5
"""How long statuses of calls that were ended may take to leave."""


async def serve(settings: Settings) -> None:
    """Runs the gateway until SIGTERM or SIGINT; what runs then may finish within the grace.

    Raises:
        ListenError, ManifestError, TritonStartError: it cannot start, or cannot go on.
    """
    serving = asyncio.create_task(_serve(settings))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    await asyncio.wait([serving])
    if serving.cancelled():
        log.info("stopped")
        return
    serving.result()


async def _serve(settings: Settings) -> None:
    offer = Offer(settings, read_manifest(settings.repository))
    tokenizer = PromptTokenizer(settings.repository / TOKENIZER)
    encoded = encoded_prompts(settings.repository, offer.manifest)
    keeper = None if settings.triton_url else TritonKeeper(settings)
    urls = [keeper.url] if keeper else settings.triton_urls
    engine = TritonEngine(urls, timeout_s=settings.inference_timeout_s)
    gateway = Gateway(offer, engine, tokenizer, encoded)
    health = HealthServicer()
    monitor = HealthMonitor(
        health,
        lambda: probe(engine, tokenizer, offer, encoded),
        keeper,
        is_busy=lambda: gateway.admission.active > 0,
        interval_s=settings.health_interval_s,
    )
    server = make_server(
        settings, AvatarService(gateway, on_engine_failure=monitor.suspect), health
    )
    address = bind(server, settings)
    try:
        async with asyncio.TaskGroup() as tasks:
            if keeper:
                tasks.create_task(keeper.run(on_loss=monitor.suspect, live=engine.live))
            tasks.create_task(monitor.run())
            await monitor.begun.wait()
            await server.start()
            log.info("listening", address=address, tritons=urls, prompts=offer.manifest.prompts)
            try:
                # Not server.wait_for_termination(): cancelling it breaks server.stop().
                await asyncio.Event().wait()
            finally:
                grace_s = settings.shutdown_grace_s
                log.info("stopping", running_calls=gateway.admission.active, grace_s=grace_s)
                await health.enter_graceful_shutdown()
                await gateway.admission.close(grace_s)
                # What is still open says nothing about work: health watches, reflection.
                await server.stop(LAST_WORDS_S)
    finally:
        await engine.close()
