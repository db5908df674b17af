"""A Triton that serves another checkpoint than the manifest's is not used, and it is said why."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from server.manifest import Manifest, NetworkEntry
from server.sessions.jobs import Offer
from server.sessions.probe import Probe
from server.triton import watch
from server.triton.checkpoint import OtherCheckpointError, check_checkpoint
from server.triton.client import TritonEngine
from server.triton.contract import SERVED
from server.triton.endpoint import Endpoint
from server.triton.failover import FailoverEngine
from server.triton.metering import MeteredEngine
from server.triton.scheduling import ScheduledEngine
from tests.support.fake_triton import fake_triton
from tests.support.serving import (
    Served,
    animate,
    frames,
    manifest,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
    tokenizer,
    until,
)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "RETRY_S", 0.005)


@asynccontextmanager
async def watching(folder: Path, *urls: str) -> AsyncIterator[tuple[Served, list[Endpoint]]]:
    """A gateway in front of Tritons by URL, put together as the process does it."""
    settings, described = small_windows(), manifest()
    async with AsyncExitStack() as stack:
        endpoints: list[Endpoint] = []
        for url in urls:
            triton = TritonEngine(url, timeout_s=20)
            stack.push_async_callback(triton.close)
            endpoint = Endpoint(url, MeteredEngine(triton))
            endpoints.append(endpoint)
            watched = watch.Watch(
                endpoint,
                live=triton.live,
                identify=partial(check_checkpoint, triton, described),
                probe=Probe(triton, tokenizer(folder), Offer(settings, described)).run,
                keeper=None,
                interval_s=3600,
            )
            running = asyncio.create_task(watched.run())
            stack.callback(running.cancel)
        engine = FailoverEngine(ScheduledEngine(endpoints), attempts=len(endpoints))
        gateway = await stack.enter_async_context(served(engine, folder, settings))
        yield gateway, endpoints


async def assert_refused(gateway: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await animate(gateway, [start(), *said(speech(640))])
    refused = refusal(caught.value)
    assert refused.code is grpc.StatusCode.UNAVAILABLE
    assert refused.reason == "ENGINE_UNAVAILABLE"
    assert "another checkpoint" in refused.text


async def assert_used(gateway: Served) -> None:
    assert len(frames(await animate(gateway, [start(), *said(speech(640))]))) == 1


async def test_another_checkpoint_is_refused_at_start_and_said_once(tmp_path: Path) -> None:
    async with fake_triton() as triton:
        triton.checkpoint = "theirs"
        with capture_logs() as log:
            async with watching(tmp_path, triton.address) as (gateway, (endpoint,)):
                await until(lambda: endpoint.refusal is not None)
                await assert_refused(gateway)
                asked = triton.configurations
                await until(lambda: triton.configurations > asked + 2)
                assert not triton.requests
                triton.checkpoint = "test"
                await until(lambda: endpoint.usable)
                await assert_used(gateway)
    (said_of_it,) = [line for line in log if line["event"] == "triton is refused"]
    assert said_of_it["url"] == triton.address
    for told in ("denoiser", "theirs", "test", "--repository"):
        assert told in said_of_it["problem"]


async def test_another_checkpoint_is_refused_after_a_reconnect(tmp_path: Path) -> None:
    async with AsyncExitStack() as first:
        triton = await first.enter_async_context(fake_triton())
        async with watching(tmp_path, triton.address) as (gateway, (endpoint,)):
            await until(lambda: endpoint.usable)
            await assert_used(gateway)
            await first.aclose()
            with pytest.raises(grpc.aio.AioRpcError):
                await animate(gateway, [start(), *said(speech(640))])
            async with fake_triton(triton.address) as second:
                second.checkpoint = "theirs"
                await until(lambda: endpoint.refusal is not None)
                await assert_refused(gateway)
                assert not second.requests


async def test_of_two_tritons_only_the_one_of_the_same_checkpoint_is_used(tmp_path: Path) -> None:
    async with fake_triton() as ours, fake_triton() as theirs:
        theirs.checkpoint = "theirs"
        async with watching(tmp_path, theirs.address, ours.address) as (gateway, endpoints):
            await until(lambda: endpoints[0].refusal is not None and endpoints[1].usable)
            await assert_used(gateway)
            assert not theirs.requests


async def check(checkpoint: str | None, described: Manifest) -> None:
    async with fake_triton() as triton:
        triton.checkpoint = checkpoint
        engine = TritonEngine(triton.address, timeout_s=20)
        try:
            await check_checkpoint(engine, described, 20)
        finally:
            await engine.close()


async def test_what_looks_at_faces_is_of_no_checkpoint() -> None:
    entry = NetworkEntry(backend="fake", precision="fp32")
    described = manifest("preview").model_copy(
        update={"networks": dict.fromkeys(SERVED["preview"], entry)}
    )
    await check("test", described)
    with pytest.raises(OtherCheckpointError):
        await check("theirs", described)


async def test_an_export_by_an_older_version_is_to_be_made_again() -> None:
    with pytest.raises(OtherCheckpointError, match="export again"):
        await check(None, manifest())
