"""Blinks over speech over real gRPC: who may ask for them, and that they come out."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from tests.support.fake_engine import FakeEngine
from tests.support.serving import (
    END,
    Served,
    animate,
    frames,
    manifest,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
)
from tests.support.talking_photograph import TalkingPhotograph, photograph_file

SIDE, SECONDS, RATE = 256, 5, 16_000
AUDIO = speech(SECONDS * RATE)
SETTINGS = small_windows(window_ladder=(33,), overlap_frames=5)
SEES = manifest(meshes=True).model_copy(update={"sizes": ((SIDE, SIDE),)})


@pytest.fixture
def engines() -> list[TalkingPhotograph]:
    return [TalkingPhotograph(SIDE, 5) for _ in range(2)]


def touched(plain: list[pb.Frame], blinking: list[pb.Frame]) -> list[int]:
    """The frames that differ."""
    return [a.index for a, b in zip(plain, blinking, strict=True) if a.data != b.data]


async def test_a_stream_blinks_where_it_is_asked_to(
    engines: list[TalkingPhotograph], tmp_path: Path
) -> None:
    shown: list[list[pb.Frame]] = []
    portrait = pb.Portrait(image=photograph_file(SIDE))
    for engine, blinks in zip(engines, (False, True), strict=True):
        async with served(engine, tmp_path, SETTINGS, offer=SEES) as server:
            opening = start(portrait=portrait, blink_over_speech=blinks)
            answers = await animate(server, [opening, *said(AUDIO)])
            assert answers[0].started.blink_over_speech == blinks
            shown.append(frames(answers))
    differing = touched(*shown)
    assert 4 <= len(differing) <= 7
    assert np.diff(differing).tolist() == [1] * (len(differing) - 1)


async def test_a_render_blinks_where_it_is_asked_to(
    engines: list[TalkingPhotograph], tmp_path: Path
) -> None:
    shown: list[list[pb.Frame]] = []
    for engine, blinks in zip(engines, (False, True), strict=True):
        async with served(engine, tmp_path, SETTINGS, offer=SEES) as server:
            asked = request(blink_over_speech=blinks, output=pb.RENDER_OUTPUT_FRAMES)
            answers = [answer async for answer in server.stub.Render(asked)]
            assert answers[0].started.blink_over_speech == blinks
            shown.append([a.frame for a in answers if a.WhichOneof("message") == "frame"])
    assert 4 <= len(touched(*shown)) <= 7


def request(**changes: Any) -> pb.RenderRequest:
    opening = start(portrait=pb.Portrait(image=photograph_file(SIDE))).start
    fields: dict[str, Any] = {
        "portrait": opening.portrait,
        "audio_format": opening.audio_format,
        "video_format": opening.video_format,
        "audio": AUDIO.tobytes(),
    }
    return pb.RenderRequest(**fields | changes)


async def refused(server: Served, message: pb.AnimateRequest | pb.RenderRequest) -> str:
    """The field that a call is refused for."""
    is_stream = isinstance(message, pb.AnimateRequest)
    answer = animate(server, [message, END]) if is_stream else server.stub.Render(message).read()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    found = refusal(caught.value)
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT
    return found.field


async def test_without_the_mesh_blinks_are_refused(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows()) as server:
        field = await refused(server, start(blink_over_speech=True))
        assert field == "start.blink_over_speech"
        assert await refused(server, request(blink_over_speech=True)) == "blink_over_speech"


async def test_an_exact_clip_is_left_as_it_is(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows(), offer=SEES) as server:
        asked = request(blink_over_speech=True, exact_clip=pb.ExactClip())
        assert await refused(server, asked) == "blink_over_speech"
