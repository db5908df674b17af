"""Frames in other forms than JPEG, over real gRPC, with a fake engine."""

import io
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import grpc
import numpy as np
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from PIL import Image

from tests.support.fake_engine import FakeEngine
from tests.support.serving import (
    END,
    Served,
    animate,
    chunk,
    frames,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
)

RATE = 16_000


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(FakeEngine(), tmp_path, small_windows()) as running:
        yield running


def h264_pictures(answers: list[pb.Frame]) -> list[np.ndarray]:
    """Decodes access units one by one, which must each give a picture at once."""
    context: Any = av.CodecContext.create("h264", "r")
    context.thread_count = 1
    return [
        picture.to_ndarray(format="rgb24")
        for frame in answers
        for picture in context.decode(av.Packet(frame.data))
    ]


async def test_h264_has_an_access_unit_for_each_frame_and_a_key_frame_every_two_seconds(
    server: Served,
) -> None:
    h264 = pb.VideoFormat(encoding=pb.FRAME_ENCODING_H264, frames_per_second=10)
    raw = pb.VideoFormat(encoding=pb.FRAME_ENCODING_RGB, frames_per_second=10)
    spoken = said(speech(5 * RATE))
    encoded = frames(await animate(server, [start(video_format=h264), *spoken]))
    plain = frames(await animate(server, [start(video_format=raw), *spoken]))
    assert len(encoded) == len(plain) == 50
    assert [frame.index for frame in encoded if frame.key_frame] == [0, 20, 40]
    for frame in encoded:
        # Annex B; a key frame begins with its parameter sets.
        assert frame.data.startswith(b"\0\0\0\1")
        assert (b"\0\0\0\1\x67" in frame.data) == frame.key_frame
    pictures = h264_pictures(encoded)
    shades = [np.frombuffer(frame.data, np.uint8).mean() for frame in plain]
    assert [picture.mean() for picture in pictures] == pytest.approx(shades, abs=4)


async def test_after_an_interruption_h264_begins_anew(server: Served) -> None:
    call = server.stub.Animate()
    video = pb.VideoFormat(encoding=pb.FRAME_ENCODING_H264)
    await call.write(start(video_format=video))
    await call.write(chunk(speech(RATE).tobytes()))
    shown: list[pb.Frame] = []
    async for answer in call:
        kind = answer.WhichOneof("message")
        if kind == "frame":
            shown.append(answer.frame)
        if kind == "frame" and answer.frame.index == 3:
            await call.write(pb.AnimateRequest(interrupt=pb.Interrupt()))
        if kind == "interrupted":
            before = len(shown)
            for message in said(speech(RATE, seed=1)):
                await call.write(message)
    keys = [frame.index for frame in shown if frame.key_frame]
    assert keys == [0, before]
    assert len(h264_pictures(shown[before:])) == len(shown) - before == 25


async def test_webp_frames_are_pictures_of_the_quality_that_is_asked_for(server: Served) -> None:
    sizes: list[int] = []
    for quality in (10, 100):
        video = pb.VideoFormat(encoding=pb.FRAME_ENCODING_WEBP, jpeg_quality=quality)
        encoded = frames(await animate(server, [start(video_format=video), *said(speech(6_400))]))
        pictures = [Image.open(io.BytesIO(frame.data)) for frame in encoded]
        assert [picture.format for picture in pictures] == ["WEBP"] * 10
        assert all(frame.key_frame for frame in encoded)
        sizes.append(sum(len(frame.data) for frame in encoded))
    assert sizes[1] > 2 * sizes[0]


async def test_without_the_extra_h264_is_a_failed_precondition_and_not_offered(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = (await server.stub.GetServerInfo(pb.GetServerInfoRequest())).frame_encodings
    assert {pb.FRAME_ENCODING_WEBP, pb.FRAME_ENCODING_H264} < set(offered)
    monkeypatch.setitem(sys.modules, "av", None)
    info = await server.stub.GetServerInfo(pb.GetServerInfoRequest())
    assert set(offered) - set(info.frame_encodings) == {pb.FRAME_ENCODING_H264}
    video = pb.VideoFormat(encoding=pb.FRAME_ENCODING_H264)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await animate(server, [start(video_format=video), END])
    refused = refusal(caught.value)
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "MISSING_EXTRA",
    )
    assert "`mp4`" in refused.text
