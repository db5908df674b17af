"""What is told of the work while it goes on, by whoever does it to whoever counts it.

`server.metrics` counts; a recorder of this class itself is for whoever is not watched.
"""

from collections.abc import Callable, Mapping
from typing import Literal

Cause = Literal["server", "client"]
"""Who kept playback waiting: the machine, or whoever sent speech or took frames too late."""


class Recorder:
    """Is told, and does nothing about it. Names come from fixed tables, never from clients."""

    def call_began(self, method: str) -> None:
        """Says that a client's call has come."""

    def call_ended(self, method: str, code: str, reason: str) -> None:
        """Says how a call ended: its gRPC code, and the reason of an error or an empty string."""

    def video_ended(self, method: str, playable_s: float, realtime_factor: float) -> None:
        """Says what a call that had frames came to; see `server.sessions.report`."""

    def first_frame(self, method: str, seconds: float) -> None:
        """Says how long after its first audio a call's first frame left."""

    def frame_sent(self, method: str) -> None:
        """Says that a frame has left."""

    def underruns(self, count: int, cause: Cause) -> None:
        """Says that frames were due and not there; see `server.sessions.pacer`."""

    def frame_encoded(self, seconds: float) -> None:
        """Says how long a frame's encoding took."""

    def message_sent(self, seconds: float) -> None:
        """Says how long an answer waited until the client's side took it."""

    def window_ended(self, frames: int, stages_s: Mapping[str, float]) -> None:
        """Says how long each stage of a window took; see `server.animation.stages`."""

    def step_ended(self, seconds: float) -> None:
        """Says how long a step of denoising took: evaluations, guidance and sampler."""

    def execution_ended(self, endpoint: str, network: str, outcome: str, seconds: float) -> None:
        """Says how an execution on a Triton ended; see `server.triton.metering`."""

    def endpoint_usable(self, endpoint: str, usable: Callable[[], bool]) -> None:
        """Says how to ask whether a Triton is used."""

    def avatars_kept(self, count: Callable[[], int]) -> None:
        """Says how to ask how many avatars are kept."""

    def loaded(self, load: Callable[[], float]) -> None:
        """Says how to ask what streams take of the engines; see `server.sessions.load`."""

    def cache_asked(self, kind: str, *, hit: bool) -> None:
        """Says whether what was asked for was remembered."""

    def audio_waiting(self, seconds: float) -> None:
        """Says that so much more audio waits to be animated, or less if negative."""

    def loop_held(self, seconds: float) -> None:
        """Says how long the event loop was held up."""


SILENT = Recorder()
