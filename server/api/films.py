"""The frames of a Render call to a film, with its sound, sent as it is made or in the end."""

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

from echomimic.v1 import avatar_service_pb2 as pb

from server.api import responses
from server.api.calls import Call
from server.audio.clock import Clock
from server.audio.decoder import PcmDecoder
from server.errors import MissingExtraError
from server.sessions.conversation import Conversation
from server.sessions.events import Frame, Notice
from server.sessions.jobs import Job

if TYPE_CHECKING:
    from echomimic_client.film_kinds import FilmKind
    from echomimic_client.films import FilmWriter

KINDS: dict[pb.RenderOutput, "FilmKind"] = {
    pb.RENDER_OUTPUT_UNSPECIFIED: "mp4",
    pb.RENDER_OUTPUT_MP4: "mp4",
    pb.RENDER_OUTPUT_FRAGMENTED_MP4: "fragmented_mp4",
    pb.RENDER_OUTPUT_WEBM: "webm",
    pb.RENDER_OUTPUT_GIF: "gif",
}
CHUNK_BYTES = 1 << 20
NOTHING = b""


def check_film(output: pb.RenderOutput) -> None:
    """Checks that films can be made here, if one is asked for.

    Raises:
        MissingExtraError: they cannot.
    """
    if output in KINDS and find_spec("av") is None:
        raise MissingExtraError("a film", "mp4")


async def send_film(
    call: Call, conversation: Conversation, total: int, audio: bytes, output: pb.RenderOutput
) -> None:
    """Sends the film of a clip.

    Args:
        call: that asked for it.
        conversation: draws the clip.
        total: how many frames there will be.
        audio: the speech as it was sent.
        output: what kind of film.
    """
    job, report, kind = conversation.job, conversation.report, KINDS[output]
    samples = await asyncio.to_thread(PcmDecoder(job.audio_format).push, audio, field="audio")
    clock = Clock(job.audio_format.sample_rate_hz, job.video_format.retiming.frame_rate)
    with await asyncio.to_thread(_writer, job, kind) as writer:
        windows = 0
        async for event in conversation.events():
            match event:
                case Frame():
                    begin, end = (clock.first_sample(event.index + n) for n in (0, 1))
                    data = await asyncio.to_thread(writer.add, event.picture, samples[begin:end])
                    await _send(call, kind, data)
                    call.frame_sent(report, event)
                    if report.windows > windows or report.frames == total:
                        windows = report.windows
                        progress = pb.Progress(frames=report.frames, total_frames=total)
                        await call.send(pb.RenderResponse(progress=progress))
                case Notice():
                    await call.send(pb.RenderResponse(warning=responses.warning(event)))
                case _:
                    # A clip is one utterance, from beginning to end.
                    pass
        rest = writer.finish()
        while data := await asyncio.to_thread(next, rest, NOTHING):
            await _send(call, kind, data)


async def _send(call: Call, kind: "FilmKind", data: bytes) -> None:
    for start in range(0, len(data), CHUNK_BYTES):
        chunk = data[start : start + CHUNK_BYTES]
        if kind in ("mp4", "fragmented_mp4"):
            await call.send(pb.RenderResponse(mp4_chunk=pb.Mp4Chunk(data=chunk)))
        else:
            await call.send(pb.RenderResponse(file_chunk=pb.FileChunk(data=chunk)))


def _writer(job: Job, kind: "FilmKind") -> "FilmWriter":
    # Loading FFmpeg takes a moment, and not every installation has it.
    from echomimic_client.films import FilmWriter

    video_format = job.video_format
    return FilmWriter(
        kind,
        video_format.width,
        video_format.height,
        video_format.retiming.frame_rate,
        job.audio_format.sample_rate_hz,
    )
