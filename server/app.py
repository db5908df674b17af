"""The process: gRPC server, health, engine, Triton."""

# These libraries' own annotations are missing or partial.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import structlog
from grpc_health.v1._async import HealthServicer

from server.access.access import access
from server.access.risks import risks
from server.access.tls import Tls, tls
from server.animation.styles import encoded_prompts
from server.animation.tokens import PromptTokenizer
from server.api.health import HealthMonitor
from server.api.kserve.service import InferenceService
from server.api.listener import ListenError, Service, bind, make_server
from server.api.service import AvatarService
from server.loop_lag import LoopLag
from server.manifest import TOKENIZER, read_manifest
from server.metrics import Metrics
from server.recorder import SILENT, Recorder
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from server.sessions.probe import Probe
from server.settings import Settings
from server.spans import UNTRACED, Tracer
from server.triton.checkpoint import check_checkpoint
from server.triton.client import TritonEngine
from server.triton.container import container_triton
from server.triton.contract import Variant
from server.triton.endpoint import Endpoint
from server.triton.failover import FailoverEngine
from server.triton.halves import HalvingEngine
from server.triton.keeper import TritonKeeper
from server.triton.metering import MeteredEngine
from server.triton.plans import check_plans
from server.triton.scheduling import ScheduledEngine
from server.triton.shared_memory import shared_memory
from server.triton.watch import Watch

if TYPE_CHECKING:
    from server.http.listener import HttpListener

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


@contextmanager
def _recording(settings: Settings, variant: Variant) -> Generator[Recorder]:
    """Gives whom to tell what happens, and serves that as metrics if the settings say so.

    HTTP serves it, too.
    """
    if settings.metrics_port is None and settings.http_port is None:
        yield SILENT
        return
    metrics = Metrics(version("echomimic-server"), variant)
    if settings.metrics_port is None:
        yield metrics
        return
    host, port = settings.host.strip("[]"), settings.metrics_port
    with ExitStack() as stack:
        try:
            url = stack.enter_context(metrics.served(host, port))
        except OSError as error:
            why = error.strerror or str(error)
            raise ListenError(f"cannot serve metrics on {host}, port {port}: {why}") from error
        log.info("metrics are served", url=url)
        yield metrics


def _tracing(settings: Settings) -> AbstractContextManager[Tracer]:
    """Gives who begins the spans of calls, which leave if the settings say where to."""
    if settings.otlp_endpoint is None:
        return nullcontext(UNTRACED)
    # An extra, which takes a moment to load.
    from server.traces import traces

    return traces(settings.otlp_endpoint, settings.trace_ratio)


async def _serve(settings: Settings) -> None:
    offer = Offer(settings, read_manifest(settings.repository))
    if not settings.triton_url:
        # A Triton from PyPI has no TensorRT.
        container = container_triton(settings.triton_venv)
        here = container.tensorrt if container else None
        remedy = "and name that Triton by --triton-url"
        check_plans(offer.manifest, settings.repository, here, remedy)
    with (
        _recording(settings, offer.manifest.variant) as recorder,
        _tracing(settings) as tracer,
        ExitStack() as stack,
    ):
        await _run(settings, offer, recorder, tracer, stack)


def _triton(settings: Settings, url: str, stack: ExitStack) -> TritonEngine:
    use, limit_bytes = settings.triton_shared_memory, settings.triton_shared_memory_bytes
    shared = stack.enter_context(shared_memory(use, url, limit_bytes))
    return TritonEngine(url, timeout_s=settings.inference_timeout_s, shared_memory=shared)


def services(settings: Settings, gateway: Gateway, works: Callable[[], bool]) -> Generator[Service]:
    """Yields what clients speak.

    Args:
        settings: say which of it.
        gateway: draws.
        works: tells whether it can.
    """
    yield AvatarService(gateway)
    if settings.channelz:
        from server.api.channelz import ChannelzService

        yield ChannelzService(gateway)
    if settings.kserve:
        path = settings.default_portrait
        yield InferenceService(gateway, works, path.read_bytes() if path else None)


def _http(
    settings: Settings, gateway: Gateway, works: Callable[[], bool], tls: Tls | None
) -> "HttpListener | None":
    """Returns what answers by HTTP, bound and not running, if the settings ask for it."""
    if settings.http_port is None:
        return None
    # Loading FastAPI takes a moment that gRPC alone need not wait for.
    from server.http.app import make_app
    from server.http.listener import HttpListener

    measured = gateway.recorder.page if isinstance(gateway.recorder, Metrics) else None
    return HttpListener(make_app(gateway, works, measured), settings, settings.http_port, tls)


async def _run(
    settings: Settings, offer: Offer, recorder: Recorder, tracer: Tracer, stack: ExitStack
) -> None:
    tokenizer = PromptTokenizer(settings.repository / TOKENIZER)
    encoded = encoded_prompts(settings.repository, offer.manifest)
    keeper = None if settings.triton_url else TritonKeeper(settings)
    urls = [keeper.url] if keeper else settings.triton_urls
    health = HealthServicer()

    def works() -> bool:
        return any(endpoint.usable for endpoint in endpoints)

    monitor = HealthMonitor(health, works)
    tritons = [_triton(settings, url, stack) for url in urls]
    engines = [HalvingEngine(triton, offer.manifest.precisions) for triton in tritons]
    endpoints = [
        Endpoint(
            url,
            MeteredEngine(engine, ended=partial(recorder.execution_ended, url)),
            monitor.notice,
        )
        for url, engine in zip(urls, engines, strict=True)
    ]
    for endpoint in endpoints:
        recorder.endpoint_usable(endpoint.url, lambda endpoint=endpoint: endpoint.usable)
    watches = [
        Watch(
            endpoint,
            live=triton.live,
            identify=partial(check_checkpoint, triton, offer.manifest),
            probe=Probe(engine, tokenizer, offer, encoded).run,
            keeper=keeper,
            interval_s=settings.health_interval_s,
        )
        for endpoint, engine, triton in zip(endpoints, engines, tritons, strict=True)
    ]
    engine = FailoverEngine(
        ScheduledEngine(endpoints), attempts=len(endpoints), wait_s=settings.triton_wait_s
    )
    gateway = Gateway(
        *(offer, engine, tokenizer, encoded, recorder, access(settings), tracer),
        engines=lambda: sum(endpoint.usable for endpoint in endpoints),
    )
    server = make_server(settings, services(settings, gateway, works), health)
    encrypted = tls(settings)
    address = bind(server, settings, encrypted)
    http = _http(settings, gateway, works, encrypted)
    for risk in risks(settings):
        log.warning("this is not safe", risk=risk)
    try:
        async with asyncio.TaskGroup() as tasks:
            if keeper:
                (own,) = endpoints
                tasks.create_task(
                    keeper.run(on_loss=lambda: own.eject("it has ended"), live=tritons[0].live)
                )
            tasks.create_task(monitor.run())
            tasks.create_task(LoopLag(recorder.loop_held).run())
            for watch in watches:
                tasks.create_task(watch.run())
            await monitor.begun.wait()
            await server.start()
            if http:
                tasks.create_task(http.run())
                log.info("HTTP is served", url=http.url)
            log.info("listening", address=address, tritons=urls, prompts=offer.manifest.prompts)
            try:
                # Not server.wait_for_termination(): cancelling it breaks server.stop().
                await asyncio.Event().wait()
            finally:
                grace_s = settings.shutdown_grace_s
                log.info("stopping", running_calls=gateway.admission.active, grace_s=grace_s)
                await health.enter_graceful_shutdown()
                await gateway.admission.close(grace_s)
                if http:
                    await http.stop()
                # What is still open says nothing about work: health watches, reflection.
                await server.stop(LAST_WORDS_S)
    finally:
        for triton in tritons:
            await triton.close()
