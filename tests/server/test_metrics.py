"""What a gateway measures: all that it says it does, and nothing that a client can name."""

import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import get_args

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from prometheus_client.samples import Sample

from server.animation.stages import Stage
from server.api.service import SERVICE
from server.api.status import KINDS
from server.metrics import PREFIX, Metrics
from server.recorder import Cause
from server.triton.contract import SERVED
from server.triton.engine import Engine
from server.triton.metering import OUTCOMES, MeteredEngine
from tests.reports.metrics import page
from tests.support.fake_engine import FakeEngine
from tests.support.paths import ROOT
from tests.support.serving import animate, chunk, said, served, small_windows, speech, start, until

ENDPOINT = "127.0.0.1:8001"
VALUES = {
    "method": {method.name for method in SERVICE.methods},
    "code": {code.name for code in grpc.StatusCode},
    "reason": {"", "INTERNAL", *(kind.reason for kind in KINDS.values())},
    "stage": set(get_args(Stage)),
    "endpoint": {ENDPOINT},
    "network": {name for networks in SERVED.values() for name in networks},
    "outcome": {"ok", "error", *OUTCOMES.values()},
    "cause": set(get_args(Cause)),
    "kind": {"first_window", "image_tokens", "text"},
    "result": {"hit", "miss"},
    "version": {"1.2.3"},
    "variant": {"flash"},
}
"""All values that each label can have."""


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3", "flash")


def metered(metrics: Metrics, fake: FakeEngine) -> Engine:
    metrics.endpoint_usable(ENDPOINT, lambda: True)
    return MeteredEngine(fake, ended=partial(metrics.execution_ended, ENDPOINT))


def samples(metrics: Metrics) -> Iterator[Sample]:
    for family in metrics.registry.collect():
        if family.name.startswith(PREFIX):
            yield from family.samples


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(f"{PREFIX}_{name}", labels)
    assert found is not None, f"{name} {labels}"
    return found


async def test_every_metric_is_there_after_a_stream(metrics: Metrics, tmp_path: Path) -> None:
    engine = metered(metrics, FakeEngine())
    async with served(engine, tmp_path, small_windows(), recorder=metrics) as server:
        answers = await animate(server, [start(), *said(speech(16_000))])
    metrics.loop_held(0.0)
    told = {sample.name for sample in samples(metrics)}
    for family in metrics.labels:
        assert any(name.startswith(family) for name in told), family
    stream = {"method": "Animate"}
    assert value(metrics, "frames_sent_total", **stream) == 25
    assert value(metrics, "frame_encoding_seconds_count") == 25
    assert value(metrics, "calls_total", **stream, code="OK", reason="") == 1
    assert value(metrics, "calls_active", **stream) == 0
    for name in ("first_frame_seconds", "playable_seconds", "realtime_factor"):
        assert value(metrics, f"{name}_count", **stream) == 1
    for stage in get_args(Stage):
        assert value(metrics, "window_stage_seconds_count", stage=stage) == 4
    assert value(metrics, "denoising_step_seconds_count") == 4 * 2
    assert value(metrics, "message_sending_seconds_count") == len(answers)
    ran = {"endpoint": ENDPOINT, "outcome": "ok"}
    assert value(metrics, "execution_seconds_count", **ran, network="vae_decoder") == 4
    assert value(metrics, "cache_lookups_total", kind="text", result="miss") == 1
    assert value(metrics, "triton_usable", endpoint=ENDPOINT) == 1
    assert value(metrics, "build_info", version="1.2.3", variant="flash") == 1


async def test_an_exact_clip_has_stages_too(metrics: Metrics, tmp_path: Path) -> None:
    request = pb.RenderRequest(
        portrait=start().start.portrait,
        audio_format=start().start.audio_format,
        audio=speech(16_000).tobytes(),
        output=pb.RENDER_OUTPUT_FRAMES,
        exact_clip=pb.ExactClip(),
    )
    async with served(FakeEngine(), tmp_path, small_windows(), recorder=metrics) as server:
        async for _ in server.stub.Render(request):
            pass
    for stage in ("features", "condition", "denoise", "decode", "stitch"):
        assert value(metrics, "window_stage_seconds_count", stage=stage) == 1
    assert value(metrics, "denoising_step_seconds_count") == 2
    assert value(metrics, "frames_sent_total", method="Render") == 25


async def test_clients_cannot_make_label_values(metrics: Metrics, tmp_path: Path) -> None:
    fake = FakeEngine()
    async with served(metered(metrics, fake), tmp_path, small_windows(), recorder=metrics) as on:
        strange = start(client_session_id="strange")
        strange.start.generation.prompt = "strange"
        call = on.stub.Animate(iter([strange, *said(speech(640))]))
        assert [answer async for answer in call][-1].WhichOneof("message") == "summary"
        with pytest.raises(grpc.aio.AioRpcError):
            await animate(on, [chunk(b"strange")])
        with pytest.raises(grpc.aio.AioRpcError):
            await on.stub.CreateAvatar(pb.CreateAvatarRequest())
        fake.error = RuntimeError("strange")
        with pytest.raises(grpc.aio.AioRpcError):
            await animate(on, [start(), *said(speech(640))])
    refused = {"method": "Animate", "code": "INVALID_ARGUMENT", "reason": "INVALID_FIELD"}
    assert value(metrics, "calls_total", **refused) == 1
    for sample in samples(metrics):
        for label, text in sample.labels.items():
            assert label == "le" or text in VALUES[label], sample


async def test_audio_that_waits_is_counted_until_nobody_wants_it(
    metrics: Metrics, tmp_path: Path
) -> None:
    fake = FakeEngine()
    fake.delay_s = 60
    async with served(fake, tmp_path, small_windows(), recorder=metrics) as server:
        call = server.stub.Animate()
        await call.write(start())
        await call.write(chunk(speech(16_000).tobytes()))
        await until(lambda: value(metrics, "audio_waiting_seconds") > 0.9)
        call.cancel()
        await until(lambda: value(metrics, "calls_active", method="Animate") == 0)
    assert value(metrics, "audio_waiting_seconds") == pytest.approx(0)
    assert value(metrics, "calls_total", method="Animate", code="CANCELLED", reason="") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_metrics_are_served_over_http(metrics: Metrics, host: str) -> None:
    with metrics.served(host, 0) as url:
        text = urllib.request.urlopen(url).read().decode()
        port = int(url.rpartition(":")[2].removesuffix("/metrics"))
        with pytest.raises(OSError, match="in use"), metrics.served(host, port):
            pass
    assert 'echomimic_build_info{variant="flash",version="1.2.3"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_the_page_lists_every_metric() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    assert all(part in text for part in page())
