"""Calls that are answered bit by bit, for services: asynchronous iterators."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from contextlib import aclosing, suppress
from typing import Any, cast

import grpc
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from typing_extensions import Self

from echomimic_client import requests, wire
from echomimic_client.audio import AudioFormat
from echomimic_client.choices import GenerationSettings
from echomimic_client.errors import CallEndedError
from echomimic_client.results import Event, Frame, Progress, Rendering, Started
from echomimic_client.sending import MAX_WAITING, Composer, outliving
from echomimic_client.sources import Chunk
from echomimic_client.streams import OnBytes, OnProgress
from echomimic_client.transcript import Transcript


class AsyncAnswers(Transcript):
    """A call that is answered bit by bit: iterate over its frames or its events, once.

    Leaving the loop, or an ``async with`` statement around it, ends the call.
    """

    def __init__(self, call: Any, target: str) -> None:
        super().__init__(target)
        self._call = call
        # Not `call.read`: where the server ends the call while it is written to, that may report
        # INTERNAL in place of the server's status.
        self._responses = aiter(call)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the call if it has not ended."""
        self._call.cancel()

    async def wait_until_started(self) -> Started:
        """Waits for the server's first answer: the settings in force.

        Raises:
            CallError: the call failed.
        """
        while self._started is None and (response := await self._read()) is not None:
            self.take(response)
        return self.started

    async def __aiter__(self) -> AsyncIterator[Frame]:
        """Yields the frames as they come; errors are those of `events`."""
        async with aclosing(cast("Any", self.events())) as events:
            async for event in events:
                if isinstance(event, Frame):
                    yield event

    async def events(self) -> AsyncIterator[Event]:
        """Yields frames, events of utterances, answers and warnings as they come.

        Raises:
            CallError: the call failed.
            Exception: what the audio source raised.
        """
        try:
            while (response := await self._read()) is not None:
                event = self.take(response)
                if event is not None:
                    yield event
        finally:
            await self.close()

    async def film(self, on_progress: OnProgress | None, on_bytes: OnBytes | None) -> Rendering:
        """Returns the film of a Render call."""
        film = bytearray()
        while (response := await self._read()) is not None:
            event = self.take(response)
            if on_progress is not None and isinstance(event, Progress):
                on_progress(event)
            data = wire.film_bytes(response)
            if on_bytes is not None and data:
                on_bytes(data)
            film += data
        return Rendering(bytes(film), self.started, tuple(self.warnings), self.summary)

    async def _read(self) -> Any:
        with self.receiving():
            return await anext(self._responses, None)


class AsyncAnimation(AsyncAnswers):
    """An Animate stream."""

    def __init__(
        self,
        stub: pb_grpc.AvatarServiceStub,
        target: str,
        start: pb.AnimateRequest,
        audio_format: AudioFormat,
        grpc_options: dict[str, Any],
    ) -> None:
        super().__init__(stub.Animate(**grpc_options), target)
        self._composer = Composer(audio_format)
        self._waiting = deque([start])
        self._changed = asyncio.Event()
        self._ended = False
        self._tasks = [asyncio.create_task(self._write())]
        # A write that fails because the server has ended the call would replace the server's status
        # by INTERNAL, in grpc.aio; so writing stops the moment there is a status.
        self._call.add_done_callback(lambda _: self._stop_sending())

    async def close(self) -> None:
        """Ends the call if it has not ended."""
        await super().close()
        self._stop_sending()
        await asyncio.wait(self._tasks)

    async def send(self, chunk: Chunk) -> None:
        """Says something; waits while the server does not read.

        Raises:
            CallEndedError: the call has ended.
            TypeError: it is no chunk of PCM.
            ValueError: an array does not fit the audio format.
        """
        await self._put(self._composer.audio(chunk))

    async def end_of_utterance(self) -> None:
        """Brings the last frames of what was said; the stream goes on.

        Raises:
            CallEndedError: the call has ended.
        """
        await self._put([self._composer.mark(requests.END_OF_UTTERANCE)])

    async def interrupt(self) -> None:
        """Drops what was said and has not been answered, here and on the server.

        Frames that were on their way still come; `Interrupted` is the first that does after them.

        Raises:
            CallEndedError: the call has ended.
        """
        self._waiting = deque(outliving(self._waiting))
        await self._put([self._composer.mark(requests.INTERRUPT)])

    async def played(self, last_frame_index: int) -> None:
        """Reports the last frame that has been played, for the next interruption to know.

        The server refuses a frame that it has not sent, or one before the frame reported last, and
        ends the call.

        Raises:
            CallEndedError: the call has ended.
        """
        await self._put([requests.played_request(last_frame_index)])

    async def resume(self) -> None:
        """Has said again what the last interruption has dropped on the server.

        `Resumed` or `ResumeRefused` answers it. What had not reached the server is to be sent on:
        `Resumed.end_audio_sample` is where that begins.

        Raises:
            CallEndedError: the call has ended.
        """
        await self._put([requests.RESUME])

    async def listening(self, active: bool) -> None:
        """Says whether the other person talks: the face listens then, where frames are idle.

        Raises:
            CallEndedError: the call has ended.
        """
        await self._put([requests.listening_request(active)])

    async def ping(self, ping_id: str = "") -> None:
        """Asks whether the server is there; `Pong` answers it, before the frames that wait.

        Raises:
            CallEndedError: the call has ended.
        """
        await self._put([requests.ping_request(ping_id)])

    async def update(self, update_id: str, generation: GenerationSettings) -> None:
        """Changes settings of the frames that no window has been begun for; what is None stays.

        `Updated` or `UpdateRefused` answers it.

        Raises:
            CallEndedError: the call has ended.
        """
        await self._put([requests.update_request(update_id, generation)])

    async def end(self) -> None:
        """Says that no more comes: the last frames and the summary follow."""
        with suppress(CallEndedError):
            await self._put([self._composer.mark(requests.END)])

    def say(self, audio: Iterable[Chunk] | AsyncIterable[Chunk]) -> None:
        """Sends all of a source and the end, in a task of its own; a plain source in a thread.

        What the source raises, whoever reads the answers gets.
        """
        self._tasks.append(asyncio.create_task(self._say(audio)))

    async def _say(self, audio: Iterable[Chunk] | AsyncIterable[Chunk]) -> None:
        chunks = audio if isinstance(audio, AsyncIterable) else _in_thread(audio)
        try:
            async for chunk in chunks:
                await self.send(chunk)
            await self.end()
        except CallEndedError:
            pass
        except Exception as error:
            self._audio_error = error
            self._call.cancel()

    async def _put(self, messages: Iterable[pb.AnimateRequest]) -> None:
        for message in messages:
            await self._until(lambda: self._ended or len(self._waiting) < MAX_WAITING)
            if self._ended:
                raise CallEndedError("the call has ended")
            self._waiting.append(message)
            self._changed.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def _write(self) -> None:
        kind = None
        # Why a call has ended is for the reader to learn.
        with suppress(grpc.RpcError, asyncio.InvalidStateError):
            while kind != "end":
                await self._until(lambda: bool(self._waiting))
                message = self._waiting.popleft()
                self._changed.set()
                kind = message.WhichOneof("message")
                await self._call.write(message)
            await self._call.done_writing()

    def _stop_sending(self) -> None:
        self._ended = True
        self._changed.set()
        for task in self._tasks:
            task.cancel()


async def _in_thread(chunks: Iterable[Chunk]) -> AsyncIterator[Chunk]:
    """Iterates in threads, since a plain source may block: a microphone does."""
    iterator = iter(chunks)
    nothing = object()
    try:
        while (chunk := await asyncio.to_thread(next, iterator, nothing)) is not nothing:
            yield cast("Chunk", chunk)
    finally:
        # A generator that is at work cannot be closed; it ends with its thread.
        if isinstance(iterator, Generator):
            with suppress(ValueError):
                iterator.close()
