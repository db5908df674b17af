"""What OpenTelemetry is told of a call, its windows, their stages and what Triton runs for them."""

# Not every environment has the extra.
# pyright: reportMissingImports=false

import asyncio
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import numpy as np
import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from server.errors import ExecutionFailedError
from server.spans import within
from server.triton.client import TritonEngine
from server.triton.contract import TIME_MODULATION
from server.triton.keeper import trace_options
from server.triton.metering import MeteredEngine
from tests.support.fake_engine import DEMO_MODELS, FakeEngine
from tests.support.fake_triton import fake_triton
from tests.support.gated_engine import GatedEngine
from tests.support.gateway_process import gateway
from tests.support.http import by_http
from tests.support.listening import listening
from tests.support.paths import ROOT, TINY_REPOSITORY
from tests.support.serving import (
    Served,
    animate,
    chunk,
    said,
    served,
    small_windows,
    speech,
    start,
    until,
)
from tests.support.toy_triton import Scene, find_installation

pytest.importorskip("opentelemetry.sdk", reason="the extra `traces` is not installed")

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)

from server.traces import Traces

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
TIMESTEP = {"timestep": np.ones((1, 1), np.float32)}
STAGES = {"audio", "condition", "features", "denoise", "decode", "stitch"}


class Told:
    """The spans that have ended."""

    def __init__(self, ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracer = Traces(SimpleSpanProcessor(self._exporter), ratio)

    @property
    def spans(self) -> list[Any]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    def parts(self, of: Any) -> list[Any]:
        return [s for s in self.spans if s.parent and s.parent.span_id == of.context.span_id]


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    yield told
    told.tracer.close()


@asynccontextmanager
async def traced(told: Told, folder: Path, engine: FakeEngine) -> AsyncIterator[Served]:
    async with served(MeteredEngine(engine), folder, small_windows(), tracer=told.tracer) as server:
        yield server


async def call_span(told: Told, name: str = "Animate") -> Any:
    await until(lambda: bool(told.named(name)))
    (span,) = told.named(name)
    return span


async def read_out(call: Any) -> None:
    while await call.read():
        pass


def facts(span: Any) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_call_has_windows_and_these_have_stages(told: Told, tmp_path: Path) -> None:
    async with traced(told, tmp_path, FakeEngine()) as server:
        messages = [start(), *said(speech(16_000))]
        await animate(server, messages)
        call = await call_span(told)
    windows = told.named("window")
    assert len(windows) == 4
    assert {span.name for span in told.parts(call)} >= {"window", "text_encoder"}
    for window in windows:
        assert window in told.parts(call)
        stages = told.parts(window)
        assert {stage.name for stage in stages} == STAGES
        (denoise,) = [stage for stage in stages if stage.name == "denoise"]
        assert len(told.parts(denoise)) == 2
        assert all(window.start_time <= stage.start_time for stage in stages)
        assert all(stage.end_time <= window.end_time for stage in stages)
    assert [facts(window)["echomimic.frames"] for window in windows] == [5, 9, 9, 9]
    assert facts(call)["echomimic.status"] == "OK"
    assert facts(call)["echomimic.frames"] == 25
    assert not any(span.status.description for span in told.spans)


async def test_a_call_goes_on_with_its_clients_trace(told: Told, tmp_path: Path) -> None:
    async with traced(told, tmp_path, FakeEngine()) as server:
        answers = server.stub.Animate(
            iter([start(), *said(speech(640))]),
            metadata=(*SAMPLED, ("x-request-id", "find-me")),
        )
        assert [answer async for answer in answers]
        call = await call_span(told)
        async with by_http(server) as client:
            assert (await client.get("/v1/avatars", headers=dict(SAMPLED))).is_success
        listed = await call_span(told, "GET /v1/avatars")
    for span in (call, listed):
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == PARENT
    assert {f"{span.context.trace_id:032x}" for span in told.spans} == {TRACE}
    assert facts(call)["echomimic.request_id"] == "find-me"


@pytest.mark.parametrize(
    "traceparent", ["", "00", "00-zz-yy-01", f"ff-{TRACE}-{PARENT}-01", "0" * 5000, "00-é-01"]
)
async def test_a_traceparent_that_is_none_begins_a_trace(
    told: Told, tmp_path: Path, traceparent: str
) -> None:
    call = told.tracer.call("Animate", "id", [("traceparent", traceparent), ("x-bin", b"\xff")])
    call.end()
    (span,) = told.spans
    assert span.parent is None


async def test_what_is_not_sampled_is_not_told(tmp_path: Path) -> None:
    told = Told(ratio=0)
    async with traced(told, tmp_path, FakeEngine()) as server:
        await animate(server, [start(), *said(speech(640))])
        assert not told.spans
        call = server.stub.GetServerInfo(pb.GetServerInfoRequest(), metadata=SAMPLED)
        assert (await call).version
        await call_span(told, "GetServerInfo")
    # The client said of another one that it is sampled.
    assert len(told.spans) == 1


async def test_a_window_that_fails_and_one_that_is_left_end(told: Told, tmp_path: Path) -> None:
    engine = GatedEngine()
    engine.errors["denoiser"] = ExecutionFailedError("denoiser", "the words of an error")
    async with traced(told, tmp_path, engine) as server:
        call = server.stub.Animate()
        await call.write(start())
        await call.write(chunk(speech(16_000).tobytes()))
        with pytest.raises(grpc.aio.AioRpcError):
            await read_out(call)
        failed = await call_span(told)
        (window,) = told.named("window")
        assert window.status.description == "ExecutionFailedError"
        assert facts(failed)["echomimic.reason"] == "EXECUTION_FAILED"
        assert "the words of an error" not in str([span.to_json() for span in told.spans])
        engine.errors.clear()
        engine.gates["denoiser"] = asyncio.Event()
        before = len(told.spans)
        call = server.stub.Animate()
        await call.write(start())
        await call.write(chunk(speech(16_000).tobytes()))
        await until(lambda: len(told.named("features")) == 2)
        call.cancel()
        await until(lambda: len(told.named("Animate")) == 2)
    left = {span.name: span.status.description for span in told.spans[before:]}
    broken_off = ("denoise", "window")
    assert {name: left[name] for name in broken_off} == dict.fromkeys(broken_off, "cancelled")
    assert facts(told.named("Animate")[1])["echomimic.status"] == "CANCELLED"


@pytest.mark.parametrize("ratio", [0.0, 1.0])
async def test_triton_goes_on_with_what_is_sampled(ratio: float) -> None:
    told = Told(ratio)
    async with fake_triton() as triton:
        engine = TritonEngine(triton.address, timeout_s=20)
        with within(told.tracer.call("Animate", "find-me", ())):
            await MeteredEngine(engine).run(TIME_MODULATION, TIMESTEP)
            triton.status = (grpc.StatusCode.INVALID_ARGUMENT, "no")
            with pytest.raises(ExecutionFailedError):
                await MeteredEngine(engine).run(TIME_MODULATION, TIMESTEP)
        await engine.close()
    assert {request.id for request in triton.requests} == {"find-me"}
    if not ratio:
        # Triton traces whatever has one, even one that says that it is not sampled.
        assert "traceparent" not in triton.metadata
        assert not told.spans
        return
    ran, failed = told.named("time_modulation")
    assert (ran.status.description, failed.status.description) == (None, "failed")
    assert facts(ran) == {"echomimic.triton": triton.address}
    trace_id, span_id = triton.metadata["traceparent"].split("-")[1:3]
    assert int(trace_id, 16) == failed.context.trace_id
    assert int(span_id, 16) == failed.context.span_id


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP by HTTP, which Triton sends as JSON."""

    came: Queue[Any] = Queue()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        for resource in body["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    self.came.put(span)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.mark.slow
async def test_a_real_triton_goes_on_with_a_trace(told: Told, tmp_path: Path) -> None:
    shutil.copytree(DEMO_MODELS / "time_modulation", tmp_path / "models" / "time_modulation")
    scene = Scene(tmp_path / "models", tmp_path / "run", tmp_path / "triton.log")
    with listening(ThreadingHTTPServer(("127.0.0.1", 0), Collector)) as port:
        options = trace_options(f"http://127.0.0.1:{port}/v1/traces")
        async with scene.start(find_installation(), options=options) as triton:
            engine = TritonEngine(triton.grpc_url, timeout_s=60)
            await engine.run(TIME_MODULATION, TIMESTEP)
            with within(told.tracer.call("Animate", "find-me", ())):
                async with asyncio.timeout(90):
                    # It tells in batches, and loses the first request of all on a busy machine.
                    while Collector.came.empty():
                        await MeteredEngine(engine).run(TIME_MODULATION, TIMESTEP)
                        await asyncio.sleep(1)
            await engine.close()
    ours = told.named("time_modulation")
    theirs = [Collector.came.get_nowait() for _ in range(Collector.came.qsize())]
    assert {span["traceId"] for span in theirs} == {f"{ours[0].context.trace_id:032x}"}
    parents = {span["parentSpanId"] for span in theirs}
    assert parents & {f"{span.context.span_id:016x}" for span in ours}


class OurCollector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes OTLP by gRPC, which the gateway sends."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.names += [span.name for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.mark.slow
@pytest.mark.skipif(not (TINY_REPOSITORY / "manifest.json").exists(), reason="no models")
def test_a_gateway_has_told_everything_when_it_has_ended(tmp_path: Path) -> None:
    collector, server = OurCollector(), grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with gateway(tmp_path, f"--otlp-endpoint=http://127.0.0.1:{port}") as running:
        list(running.stub.Animate(iter([start(), *said(speech(640))])))
        running.process.terminate()
        assert running.process.wait(60) == 0
    server.stop(None).wait()
    # Trials and questions for health are of no call.
    assert collector.names.count("Animate") == 1
    assert {"window", *STAGES} <= set(collector.names)


def test_the_end_does_not_wait_for_what_a_collector_never_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.traces.EXPORT_TIMEOUT_S", 0.01)
    taken = threading.Event()

    class Stuck(InMemorySpanExporter):
        def shutdown(self) -> None:
            taken.wait()

    Traces(SimpleSpanProcessor(Stuck())).close()
    assert not taken.is_set()
    taken.set()


def test_nothing_of_it_is_loaded_unless_it_is_used() -> None:
    code = "import sys, server.app, server.http.app; print('opentelemetry.sdk' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout.strip() == "False", ran.stderr
