"""What an Animate stream sends, in order. Frames get their place in the stream as they leave."""

import asyncio
from enum import Enum

from echomimic.v1 import avatar_service_pb2 as pb

from server.api import responses
from server.api.calls import Call
from server.pictures.portrait import Picture
from server.sessions.conversation import EncodedFrame, Session
from server.sessions.speech import Speech


class _Mark(Enum):
    """What else stands between frames."""

    INTERRUPTED = "what follows was said after the interruption"
    END = "nothing follows"


class Answers:
    """A bounded queue of frames and events, and the state of what has left it.

    A frame's index is given when it leaves, so that frames dropped by an interruption leave no gap.
    """

    def __init__(self, session: Session, capacity: int) -> None:
        """Begins empty.

        Args:
            session: what is answered.
            capacity: frames that may wait.
        """
        self._session = session
        self._waiting: asyncio.Queue[EncodedFrame | Speech | _Mark] = asyncio.Queue(capacity)
        self._frames = 0
        self._next_sample = 0
        self._interruptions = 0
        """How many are still to be answered."""
        self.sent_at = 0.0
        """When the latest answer was sent, on the event loop's clock."""
        self.shown: Picture | None = None
        """The last picture sent."""

    async def frame(self, frame: EncodedFrame) -> None:
        """Adds a frame; waits while too many wait."""
        await self._waiting.put(frame)

    async def ended(self, speech: Speech) -> None:
        """Says that all frames of an utterance have been added."""
        await self._waiting.put(speech)

    def interrupt(self) -> None:
        """Drops everything that waits, and says so to the client."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
        # Each interruption is answered, also those whose answer still waited.
        self._interruptions += 1
        self._waiting.put_nowait(_Mark.INTERRUPTED)

    async def end(self) -> None:
        """Says that nothing follows."""
        await self._waiting.put(_Mark.END)

    async def send_all(self, call: Call) -> None:
        """Sends what is added until the end."""
        while (answer := await self._waiting.get()) is not _Mark.END:
            match answer:
                case EncodedFrame():
                    await self._send_frame(call, answer)
                case Speech():
                    await self._send_event(call, answer, ended=True)
                case _:
                    await self._send_interrupted(call)
            self.sent_at = asyncio.get_running_loop().time()

    async def _send_frame(self, call: Call, frame: EncodedFrame) -> None:
        self.shown = frame.picture
        if frame.number == 0:
            await self._send_event(call, frame.speech, ended=False)
        message = responses.frame(self._frames, frame, self._session.job.video_format)
        self._frames += 1
        self._next_sample = frame.speech.sample_of(frame.number + 1)
        await call.send(pb.AnimateResponse(frame=message))
        self._session.report.frame_sent()

    async def _send_interrupted(self, call: Call) -> None:
        interrupted = pb.Interrupted(
            last_frame_index=self._frames - 1, next_audio_sample=self._next_sample
        )
        while self._interruptions > 0:
            self._interruptions -= 1
            await call.send(pb.AnimateResponse(interrupted=interrupted))

    async def _send_event(self, call: Call, speech: Speech, *, ended: bool) -> None:
        event = responses.utterance(speech, ended=ended, frames=self._frames)
        await call.send(pb.AnimateResponse(utterance=event))
