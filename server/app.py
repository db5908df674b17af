"""The process: gRPC server, health, engine, Triton."""

# These libraries' own annotations are missing or partial.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import asyncio
import signal

import grpc
import structlog
from grpc_health.v1 import health as health_service
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from server.animation.styles import encoded_prompts
from server.animation.tokens import PromptTokenizer
from server.api.health import AVATAR_SERVICE, HealthMonitor, probe
from server.api.service import AvatarService
from server.manifest import TOKENIZER, read_manifest
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from server.settings import Settings
from server.triton.client import TritonEngine
from server.triton.keeper import TritonKeeper

log = structlog.get_logger()


class StartError(Exception):
    """The gateway cannot start; the text is one line for the operator."""


async def serve(settings: Settings) -> None:
    """Runs the gateway until SIGTERM or SIGINT; what runs then may finish within the grace.

    Raises:
        StartError, ManifestError, TritonStartError: it cannot start, or cannot go on.
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
    address = _bind(server, settings)
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
                await server.stop(grace_s)
    finally:
        await engine.close()


def make_server(
    settings: Settings, avatars: AvatarService, health: HealthServicer
) -> grpc.aio.Server:
    """Returns a gRPC server, not started, with the avatar service, health and reflection."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            # Two gateways on one port would silently share its clients.
            ("grpc.so_reuseport", 0),
        ]
    )
    avatars.add_to(server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    names = (AVATAR_SERVICE, health_service.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return server


def _bind(server: grpc.aio.Server, settings: Settings) -> str:
    address = f"{settings.host}:{settings.port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartError(f"cannot listen on {address}; is the port in use?") from error
    return f"{settings.host}:{port}"
