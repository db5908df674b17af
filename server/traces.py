"""Spans for OpenTelemetry. An extra: nothing else imports it, and this only where it is used."""

# Not everybody installs it.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

import threading
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from server.spans import Fact, Metadata, Span, Tracer

SERVICE = "echomimic-gateway"
PREFIX = "echomimic."
"""Of the names of facts, which are those of the log."""
MAX_FACT_LENGTH = 256
"""Of texts, some of which are clients'."""
EXPORT_TIMEOUT_S = 5
"""How long a collector that does not answer holds up a batch, and the end of the process, when many
batches may be left."""
PROPAGATOR = TraceContextTextMapPropagator()
"""W3C's `traceparent` and `tracestate`."""


class RecordedSpan(Span):
    """A span of OpenTelemetry's."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span, request_id: str) -> None:
        """Is of the call of an id."""
        super().__init__(request_id)
        self._tracer = tracer
        self._span = span

    @property
    def trace_id(self) -> str:
        """Where the span is found; empty if it is not recorded."""
        known = self._span.get_span_context()
        return trace.format_trace_id(known.trace_id) if known.trace_flags.sampled else ""

    def child(self, name: str) -> "RecordedSpan":
        """Begins a part."""
        part = self._tracer.start_span(name, trace.set_span_in_context(self._span))
        return RecordedSpan(self._tracer, part, self.request_id)

    def note(self, **facts: Fact) -> None:
        """Says something about it."""
        self._span.set_attributes({f"{PREFIX}{name}": fact for name, fact in facts.items()})

    def end(self, problem: str = "") -> None:
        """Ends it; ``problem`` is what went wrong, if something did."""
        if problem:
            self._span.set_status(trace.StatusCode.ERROR, problem)
        self._span.end()

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Returns the metadata by which another program goes on with the trace.

        None where it is not sampled: Triton traces whatever has a `traceparent`, even one that
        says so.
        """
        carrier: dict[str, str] = {}
        if self._span.get_span_context().trace_flags.sampled:
            PROPAGATOR.inject(carrier, trace.set_span_in_context(self._span))
        return tuple(carrier.items())


class Traces(Tracer):
    """Records spans, and hands them to a processor."""

    def __init__(self, processor: SpanProcessor, ratio: float = 1.0) -> None:
        """Begins with none.

        Args:
            processor: what becomes of spans that have ended.
            ratio: how much is recorded of what comes without a trace; a trace's client says itself.
        """
        about = {"service.name": SERVICE, "service.version": version("echomimic-server")}
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=Resource.create(about),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_span_attribute_length=MAX_FACT_LENGTH),
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(SERVICE)

    def call(self, method: str, request_id: str, metadata: Metadata) -> RecordedSpan:
        """Begins the span of a call, which goes on with the client's trace if it has one."""
        carrier = {name: value for name, value in metadata if isinstance(value, str)}
        parent = PROPAGATOR.extract(carrier)
        span = self._tracer.start_span(method, parent, kind=trace.SpanKind.SERVER)
        return RecordedSpan(self._tracer, span, request_id)

    def close(self) -> None:
        """Hands over what is left, and waits for that, if it does not take too long."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(EXPORT_TIMEOUT_S)


@contextmanager
def traces(endpoint: str, ratio: float) -> Generator[Traces]:
    """Sends spans to a collector as long as the context lasts.

    Args:
        endpoint: its URL, of OTLP over gRPC; https means TLS.
        ratio: as for `Traces`.
    """
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
    tracer = Traces(BatchSpanProcessor(exporter), ratio)
    try:
        yield tracer
    finally:
        tracer.close()
