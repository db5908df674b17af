"""Calls that are answered bit by bit, for scripts: plain iterators."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from typing import Any, cast

from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from typing_extensions import Self

from echomimic_client import requests
from echomimic_client.audio import AudioFormat
from echomimic_client.choices import GenerationSettings
from echomimic_client.errors import CallEndedError
from echomimic_client.results import Event, Frame, Progress, Rendering, Started
from echomimic_client.sending import Composer, RequestQueue
from echomimic_client.sources import Chunk
from echomimic_client.transcript import Transcript
from echomimic_client.wire import film_bytes

OnProgress = Callable[[Progress], object]
OnBytes = Callable[[bytes], object]


class Answers(Transcript):
    """A call that is answered bit by bit: iterate over its frames or its events, once.

    Leaving the loop, or a ``with`` statement around it, ends the call.
    """

    def __init__(self, call: Any, target: str) -> None:
        super().__init__(target)
        self._call = call

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the call if it has not ended."""
        self._call.cancel()

    def wait_until_started(self) -> Started:
        """Waits for the server's first answer: the settings in force.

        Raises:
            CallError: the call failed.
        """
        while self._started is None:
            with self.receiving():
                response = next(self._call, None)
            if response is None:
                break
            self.take(response)
        return self.started

    def film(self, on_progress: OnProgress | None, on_bytes: OnBytes | None) -> Rendering:
        """Returns the film of a Render call."""
        film = bytearray()
        with self.receiving():
            for response in self._call:
                event = self.take(response)
                if on_progress is not None and isinstance(event, Progress):
                    on_progress(event)
                data = film_bytes(response)
                if on_bytes is not None and data:
                    on_bytes(data)
                film += data
        return Rendering(bytes(film), self.started, tuple(self.warnings), self.summary)

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames as they come; errors are those of `events`."""
        with closing(cast("Any", self.events())) as events:
            for event in events:
                if isinstance(event, Frame):
                    yield event

    def events(self) -> Iterator[Event]:
        """Yields frames, events of utterances, answers and warnings as they come.

        Raises:
            CallError: the call failed.
            Exception: what the audio source raised.
        """
        try:
            with self.receiving():
                for response in self._call:
                    event = self.take(response)
                    if event is not None:
                        yield event
        finally:
            self.close()


class Animation(Answers):
    """An Animate stream. What it is told may come from any thread."""

    def __init__(
        self,
        stub: pb_grpc.AvatarServiceStub,
        target: str,
        start: pb.AnimateRequest,
        audio_format: AudioFormat,
        grpc_options: dict[str, Any],
    ) -> None:
        self._queue = RequestQueue(start)
        self._composer = Composer(audio_format)
        super().__init__(stub.Animate(iter(self._queue), **grpc_options), target)
        self._call.add_callback(self._queue.close)

    def close(self) -> None:
        """Ends the call if it has not ended."""
        super().close()
        self._queue.close()

    def send(self, chunk: Chunk) -> None:
        """Says something; waits while the server does not read.

        Raises:
            CallEndedError: the call has ended.
            TypeError: it is no chunk of PCM.
            ValueError: an array does not fit the audio format.
        """
        self._queue.put(self._composer.audio(chunk))

    def end_of_utterance(self) -> None:
        """Brings the last frames of what was said; the stream goes on.

        Raises:
            CallEndedError: the call has ended.
        """
        self._queue.put([self._composer.mark(requests.END_OF_UTTERANCE)])

    def interrupt(self) -> None:
        """Drops what was said and has not been answered, here and on the server.

        Frames that were on their way still come; `Interrupted` is the first that does after them.

        Raises:
            CallEndedError: the call has ended.
        """
        self._queue.overtake(self._composer.mark(requests.INTERRUPT))

    def played(self, last_frame_index: int) -> None:
        """Reports the last frame that has been played, for the next interruption to know.

        The server refuses a frame that it has not sent, or one before the frame reported last, and
        ends the call.

        Raises:
            CallEndedError: the call has ended.
        """
        self._queue.put([requests.played_request(last_frame_index)])

    def resume(self) -> None:
        """Has said again what the last interruption has dropped on the server.

        `Resumed` or `ResumeRefused` answers it. What had not reached the server is to be sent on:
        `Resumed.end_audio_sample` is where that begins.

        Raises:
            CallEndedError: the call has ended.
        """
        self._queue.put([requests.RESUME])

    def listening(self, active: bool) -> None:
        """Says whether the other person talks: the face listens then, where frames are idle.

        Raises:
            CallEndedError: the call has ended.
        """
        self._queue.put([requests.listening_request(active)])

    def ping(self, ping_id: str = "") -> None:
        """Asks whether the server is there; `Pong` answers it, before the frames that wait.

        Raises:
            CallEndedError: the call has ended.
        """
        self._queue.put([requests.ping_request(ping_id)])

    def update(self, update_id: str, generation: GenerationSettings) -> None:
        """Changes settings of the frames that no window has been begun for; what is None stays.

        `Updated` or `UpdateRefused` answers it.

        Raises:
            CallEndedError: the call has ended.
        """
        self._queue.put([requests.update_request(update_id, generation)])

    def end(self) -> None:
        """Says that no more comes: the last frames and the summary follow."""
        with suppress(CallEndedError):
            self._queue.put([self._composer.mark(requests.END)])

    def say(self, audio: Iterable[Chunk]) -> None:
        """Sends all of a source and the end, in a thread of its own.

        What the source raises, whoever reads the answers gets.
        """
        threading.Thread(target=self._say, args=[audio], daemon=True).start()

    def _say(self, audio: Iterable[Chunk]) -> None:
        try:
            for chunk in audio:
                self.send(chunk)
            self.end()
        except CallEndedError:
            pass
        except Exception as error:
            self._audio_error = error
            self.close()
        finally:
            if isinstance(audio, Generator):
                audio.close()
