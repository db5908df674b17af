"""The Render call and GetServerInfo over real gRPC, with a fake engine."""

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

from server.animation.defaults import SETTINGS
from server.triton.contract import Variant
from tests.support.fake_engine import FakeEngine
from tests.support.serving import (
    SIZE,
    Served,
    animate,
    frames,
    portrait,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
)

RATE = 22_050


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(FakeEngine(), tmp_path, small_windows(max_render_audio_s=5)) as running:
        yield running


def request(seconds: float = 1, **changes: Any) -> pb.RenderRequest:
    fields: dict[str, Any] = {
        "portrait": pb.Portrait(image=portrait()),
        "audio_format": pb.AudioFormat(
            encoding=pb.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=RATE, channels=1
        ),
        "audio": speech(int(RATE * seconds), RATE).tobytes(),
        "video_format": pb.VideoFormat(encoding=pb.FRAME_ENCODING_RGB),
    }
    return pb.RenderRequest(**fields | changes)


async def render(server: Served, message: pb.RenderRequest) -> list[pb.RenderResponse]:
    return [answer async for answer in server.stub.Render(message)]


async def test_frames_are_those_of_a_stream(server: Served) -> None:
    rendered = await render(server, request(output=pb.RENDER_OUTPUT_FRAMES))
    assert rendered[0].WhichOneof("message") == "started"
    assert rendered[-1].summary.frames == 25
    streamed = await animate(server, [start(RATE), *said(speech(RATE, RATE))])
    data = [answer.frame.data for answer in rendered if answer.WhichOneof("message") == "frame"]
    assert data == [frame.data for frame in frames(streamed)]


async def test_an_mp4_has_every_frame_and_the_sound(server: Served) -> None:
    answers = await render(server, request(seconds=1.3))
    kinds = [answer.WhichOneof("message") for answer in answers]
    assert kinds[0] == "started"
    assert kinds[-1] == "summary"
    progress = [answer.progress for answer in answers if answer.WhichOneof("message") == "progress"]
    assert (progress[-1].frames, progress[-1].total_frames) == (33, 33)
    data = b"".join(answer.mp4_chunk.data for answer in answers)
    with av.open(io.BytesIO(data), "r") as file:
        pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    with av.open(io.BytesIO(data), "r") as file:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
        sound_rate = file.streams.audio[0].rate
    assert len(pictures) == 33
    assert pictures[0].shape == (SIZE, SIZE, 3)
    assert abs(len(sound) / sound_rate - 1.3) < 0.05
    assert np.abs(sound).max() > 0.05


@pytest.mark.parametrize(
    ("output", "field"),
    [
        (pb.RENDER_OUTPUT_FRAGMENTED_MP4, "mp4_chunk"),
        (pb.RENDER_OUTPUT_WEBM, "file_chunk"),
        (pb.RENDER_OUTPUT_GIF, "file_chunk"),
    ],
)
async def test_every_kind_of_film_has_every_frame_in_order(
    server: Served, output: pb.RenderOutput, field: str
) -> None:
    rendered = await render(server, request(output=pb.RENDER_OUTPUT_FRAMES))
    shades = [np.frombuffer(a.frame.data, np.uint8).mean() for a in rendered if a.HasField("frame")]
    answers = await render(server, request(output=output))
    assert [answer.progress.frames for answer in answers if answer.HasField("progress")][-1] == 25
    data = b"".join(getattr(answer, field).data for answer in answers)
    with av.open(io.BytesIO(data), "r") as file:
        pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        assert len(file.streams.audio) == (output != pb.RENDER_OUTPUT_GIF)
    assert [picture.mean() for picture in pictures] == pytest.approx(shades, abs=4)
    assert answers[-1].summary.frames == 25


async def test_a_fragmented_mp4_comes_while_it_is_made(server: Served) -> None:
    call = server.stub.Render(request(output=pb.RENDER_OUTPUT_FRAGMENTED_MP4, seconds=4))
    kinds = [answer.WhichOneof("message") async for answer in call]
    # Windows are told as they are made: most of the film comes before the last.
    last = max(n for n, kind in enumerate(kinds) if kind == "progress")
    assert kinds[:last].count("mp4_chunk") > 50
    assert kinds[last:].count("mp4_chunk") < 10


@pytest.mark.parametrize("encoding", [pb.FRAME_ENCODING_WEBP, pb.FRAME_ENCODING_H264])
async def test_rendered_frames_have_the_encoding_that_is_asked_for(
    server: Served, encoding: pb.FrameEncoding
) -> None:
    video = pb.VideoFormat(encoding=encoding)
    frames_only = pb.RENDER_OUTPUT_FRAMES
    answers = await render(server, request(output=frames_only, video_format=video))
    rendered = [answer.frame for answer in answers if answer.HasField("frame")]
    assert len(rendered) == 25
    assert {frame.encoding for frame in rendered} == {encoding}
    assert rendered[0].key_frame


async def test_without_the_extra_an_mp4_is_a_failed_precondition(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await render(server, request())
    refused = refusal(caught.value)
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "MISSING_EXTRA",
    )
    assert "mp4" in refused.text


BAD: dict[str, tuple[dict[str, Any], grpc.StatusCode, str]] = {
    "no audio": ({"audio": b""}, grpc.StatusCode.INVALID_ARGUMENT, "audio"),
    "half a sample": ({"audio": b"\0\0\0"}, grpc.StatusCode.INVALID_ARGUMENT, "audio"),
    "no portrait": ({"portrait": None}, grpc.StatusCode.INVALID_ARGUMENT, "portrait"),
    "no picture": (
        {"portrait": pb.Portrait(image=b"x")},
        grpc.StatusCode.INVALID_ARGUMENT,
        "portrait.image",
    ),
    "output": ({"output": 99}, grpc.StatusCode.INVALID_ARGUMENT, "output"),
    "avatar": ({"portrait": None, "avatar_id": "a"}, grpc.StatusCode.NOT_FOUND, ""),
    "too long": ({"audio": bytes(RATE * 12)}, grpc.StatusCode.RESOURCE_EXHAUSTED, ""),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_request_names_its_field(server: Served, name: str) -> None:
    changes, code, field = BAD[name]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await render(server, request(**changes))
    refused = refusal(caught.value)
    assert (refused.code, refused.field) == (code, field)


async def test_server_info_tells_what_is_offered(server: Served) -> None:
    info = await server.stub.GetServerInfo(pb.GetServerInfoRequest())
    assert info.variant == "flash"
    assert [(size.width, size.height) for size in info.sizes] == [(SIZE, SIZE), (96, SIZE)]
    assert pb.SAMPLER_FLOW_UNIPC in info.samplers
    assert info.models[0].name == "denoiser"
    assert info.limits.max_render_audio.seconds == 5
    assert info.default_generation.steps == 2
    assert info.version


@pytest.mark.parametrize("variant", ["flash", "preview"])
async def test_server_info_lists_the_settings_of_the_variant(
    tmp_path: Path, variant: Variant
) -> None:
    async with served(FakeEngine(), tmp_path, small_windows(max_steps=30), variant) as server:
        info = await server.stub.GetServerInfo(pb.GetServerInfoRequest())
    listed = {setting.name: setting for setting in info.settings}
    assert list(listed) == [name for name, of in SETTINGS.items() if of.serves(variant)]
    assert {name for name in listed if not listed[name].changes_in_stream} == {"seed"}
    assert (listed["steps"].minimum, listed["steps"].maximum) == (1, 30)
    assert listed["steps"].meaning == "Denoising steps."
    assert not listed["prompt"].HasField("maximum")
    reported = {field.name for field, _ in info.default_generation.ListFields()}
    assert reported == listed.keys() - {"teacache"}
