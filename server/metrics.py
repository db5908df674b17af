"""What the gateway measures, for Prometheus: every metric, and where they are served.

Each label has few values: the names of methods, codes, reasons, stages, networks and outcomes are
of this program, and endpoints are those that the operator named. Nothing that a client sends
becomes one.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    start_http_server,
)

from server.recorder import Cause, Recorder

PREFIX = "echomimic"
FIRST_FRAME_S = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)
"""Around what somebody who talks takes for prompt, and up to what a CPU needs."""
PLAYABLE_S = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300)
REALTIME = (0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5)
"""Close together around 1, below which video cannot keep up with speech."""
STAGE_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 100)
"""A window of 33 frames lasts 1.1 s: its stages together must not take longer."""
STEP_S = (0.003, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 120)
"""Around a stage's, shared among 8 steps or 25."""
ENCODING_S = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.04, 0.1)
"""A frame lasts 0.04 s."""
SENDING_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60)
"""Up to the time after which a client that reads nothing is sent away, by default."""
EXECUTION_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 120)
"""Up to the time after which an execution is given up, by default."""
LAG_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
"""From 0.1 s on a hold-up is a warning, too."""


class Metrics(Recorder):
    """Counts what it is told."""

    def __init__(self, version: str, variant: str) -> None:
        """Begins with nothing counted.

        Args:
            version: of this program.
            variant: of the model.
        """
        self.registry = CollectorRegistry()
        self.labels: dict[str, tuple[str, ...]] = {}
        """The names of each metric's labels."""
        self._build = self._gauge("build_info", "Always 1.", "version", "variant")
        self._build.labels(version, variant).set(1)
        self._active = self._gauge("calls_active", "Calls under way.", "method")
        self._calls = self._counter(
            "calls",
            "Calls that have ended, with the reason of those that were refused or failed.",
            *("method", "code", "reason"),
        )
        self._first_frame_s = self._histogram(
            "first_frame_seconds",
            "From a call's first audio to its first frame sent.",
            FIRST_FRAME_S,
            "method",
        )
        self._playable_s = self._histogram(
            "playable_seconds",
            "From an utterance's first audio to the start of playback that never stalls.",
            PLAYABLE_S,
            "method",
        )
        self._realtime = self._histogram(
            "realtime_factor",
            "Seconds of video for each second from a call's first audio to its last frame.",
            REALTIME,
            "method",
        )
        self._frames = self._counter("frames_sent", "Frames sent.", "method")
        self._underruns = self._counter(
            "underruns",
            "Times that a player ran dry that waits for the buffer of its live stream; client "
            "where speech came, or frames were taken, too late.",
            "cause",
        )
        for cause in get_args(Cause):
            # There before the first one, so that a rate sees that too.
            self._underruns.labels(cause)
        self._encoding_s = self._histogram(
            "frame_encoding_seconds", "Encoding of a frame.", ENCODING_S
        )
        self._sending_s = self._histogram(
            "message_sending_seconds", "Sending of an answer, until it was taken.", SENDING_S
        )
        self._stage_s = self._histogram(
            "window_stage_seconds",
            "Stages of a window; audio is waiting for what is said.",
            STAGE_S,
            "stage",
        )
        self._step_s = self._histogram(
            "denoising_step_seconds",
            "Steps of denoising: the executions of a step, its guidance and its sampler.",
            STEP_S,
        )
        self._audio_s = self._gauge(
            "audio_waiting_seconds", "Audio received that waits to be animated, of all calls."
        )
        self._execution_s = self._histogram(
            "execution_seconds",
            "Executions on Triton with their waiting there, trials left out.",
            EXECUTION_S,
            *("endpoint", "network", "outcome"),
        )
        self._usable = self._gauge(
            "triton_usable", "Whether a Triton is used: 1 while it works.", "endpoint"
        )
        self._cache = self._counter(
            "cache_lookups",
            "Portraits and prompts looked for among those that are prepared.",
            *("kind", "result"),
        )
        self._avatars = self._gauge("avatars", "Prepared portraits that are kept.")
        self._load = self._gauge(
            "load",
            "What the streams at work take of each engine to keep up with speech, as measured.",
        )
        self._lag_s = self._histogram(
            "loop_lag_seconds",
            "How long the event loop was held up, at each of many looks.",
            LAG_S,
        )
        ProcessCollector(registry=self.registry)

    def call_began(self, method: str) -> None:
        """Counts a call that is under way."""
        self._active.labels(method).inc()

    def call_ended(self, method: str, code: str, reason: str) -> None:
        """Counts a call that no longer is."""
        self._active.labels(method).dec()
        self._calls.labels(method, code, reason).inc()

    def video_ended(self, method: str, playable_s: float, realtime_factor: float) -> None:
        """Counts a call that had frames."""
        self._playable_s.labels(method).observe(playable_s)
        self._realtime.labels(method).observe(realtime_factor)

    def first_frame(self, method: str, seconds: float) -> None:
        """Counts a call's first frame."""
        self._first_frame_s.labels(method).observe(seconds)

    def frame_sent(self, method: str) -> None:
        """Counts a frame."""
        self._frames.labels(method).inc()

    def underruns(self, count: int, cause: Cause) -> None:
        """Counts frames that were due and not there."""
        self._underruns.labels(cause).inc(count)

    def frame_encoded(self, seconds: float) -> None:
        """Counts a frame's encoding."""
        self._encoding_s.observe(seconds)

    def message_sent(self, seconds: float) -> None:
        """Counts an answer's sending."""
        self._sending_s.observe(seconds)

    def window_ended(self, frames: int, stages_s: Mapping[str, float]) -> None:
        """Counts the stages of a window."""
        for stage, seconds in stages_s.items():
            self._stage_s.labels(stage).observe(seconds)

    def step_ended(self, seconds: float) -> None:
        """Counts a step of denoising."""
        self._step_s.observe(seconds)

    def execution_ended(self, endpoint: str, network: str, outcome: str, seconds: float) -> None:
        """Counts an execution."""
        self._execution_s.labels(endpoint, network, outcome).observe(seconds)

    def endpoint_usable(self, endpoint: str, usable: Callable[[], bool]) -> None:
        """Asks from now on whether a Triton is used, whenever metrics are asked for."""
        self._usable.labels(endpoint).set_function(usable)

    def avatars_kept(self, count: Callable[[], int]) -> None:
        """Asks from now on how many avatars are kept, whenever metrics are asked for."""
        self._avatars.set_function(count)

    def loaded(self, load: Callable[[], float]) -> None:
        """Asks from now on what streams take of the engines, whenever metrics are asked for."""
        self._load.set_function(load)

    def cache_asked(self, kind: str, *, hit: bool) -> None:
        """Counts a look into the cache."""
        self._cache.labels(kind, "hit" if hit else "miss").inc()

    def audio_waiting(self, seconds: float) -> None:
        """Counts audio that has come, or with a minus sign audio that has been used."""
        self._audio_s.inc(seconds)

    def loop_held(self, seconds: float) -> None:
        """Counts a look at the event loop."""
        self._lag_s.observe(seconds)

    def page(self) -> tuple[bytes, str]:
        """Returns all of it in Prometheus's words, and their media type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    @contextmanager
    def served(self, host: str, port: int) -> Generator[str]:
        """Serves the metrics while the block runs, in a thread; gives their URL.

        Raises:
            OSError: the port cannot be listened on.
        """
        server, thread = start_http_server(port, host, self.registry)
        shown = f"[{host}]" if ":" in host else host
        try:
            yield f"http://{shown}:{server.server_port}/metrics"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(self._named(name, labels), text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(self._named(name, labels), text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        full_name = self._named(name, labels)
        return Histogram(full_name, text, labels, registry=self.registry, buckets=buckets)

    def _named(self, name: str, labels: tuple[str, ...]) -> str:
        full_name = f"{PREFIX}_{name}"
        self.labels[full_name] = labels
        return full_name
