"""The client's calls, over real gRPC, against a server without a model."""

import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from echomimic_client.aio import AsyncAvatarClient
from echomimic_client.audio import AudioFormat
from echomimic_client.blocking import AvatarClient
from echomimic_client.choices import FrameEncoding, GenerationSettings, VideoFormat
from echomimic_client.enums import FILMS
from echomimic_client.errors import CallError, MissingExtraError
from echomimic_client.film_kinds import FilmKind
from echomimic_client.pictures import FrameDecoder
from echomimic_client.results import Frame, Setting
from tests.support import serving as gateway
from tests.support.fake_engine import FakeEngine
from tests.support.fake_service import (
    FIELD_REFUSED,
    MP4,
    SERVER_FULL,
    FakeService,
    served,
)
from tests.support.fake_speech import SIZE, colour
from tests.support.speech_clips import RATE, clip

FACE = b"a portrait file"


async def arriving(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def test_an_animation_has_every_frame_of_its_speech() -> None:
    speech, service = clip(), FakeService()
    with served(service) as address, AvatarClient(address) as client:
        animation = client.animate(FACE, speech.chunks(40), speech.format)
        frames = list(animation)
    assert [frame.index for frame in frames] == list(range(speech.frame_count))
    assert [frame.pts_s for frame in frames] == [n / 25 for n in range(speech.frame_count)]
    assert [frame.first_audio_sample for frame in frames] == [n * RATE // 25 for n in range(18)]
    assert animation.started.generation.sampler == "flow_unipc"
    assert animation.started.windows.audio_left_context_s == 2.0
    assert animation.started.windows.ladder == (17, 33)
    assert animation.started.limits.max_stream_audio_s == 14_400.0
    assert [warning.reason for warning in animation.warnings] == ["PORTRAIT_SMALL"]
    assert animation.summary.frames == 18
    assert animation.summary.first_frame_latency_s == 0.25
    assert service.ended
    assert b"".join(service.chunks) == speech.data


async def test_an_asynchronous_animation_is_the_same() -> None:
    speech, service = clip(), FakeService()
    with served(service) as address:
        async with AsyncAvatarClient(address) as client:
            animation = client.animate(FACE, arriving(speech.chunks(40)), speech.format)
            frames = [frame async for frame in animation]
        assert service.ended
        with AvatarClient(address) as client:
            blocking = client.animate(FACE, speech.chunks(40), speech.format)
            assert frames == list(blocking)
    assert animation.started == blocking.started
    assert animation.summary == blocking.summary
    assert animation.warnings == blocking.warnings


async def test_the_client_and_the_gateway_understand_each_other(tmp_path: Path) -> None:
    speech = clip()
    async with (
        gateway.served(FakeEngine(), tmp_path, gateway.small_windows()) as running,
        AsyncAvatarClient(running.address) as client,
    ):
        info = await client.server_info()
        animation = client.animate(
            gateway.portrait(), arriving(speech.chunks(40)), speech.format, client_session_id="me"
        )
        frames = [frame async for frame in animation]
        too_many = GenerationSettings(steps=info.limits.max_steps + 1)
        with pytest.raises(CallError) as caught:
            await client.render(gateway.portrait(), speech, generation=too_many)
    assert [frame.index for frame in frames] == list(range(speech.frame_count))
    assert {frame.to_numpy().shape[1::-1] for frame in frames} == {info.sizes[0]}
    assert animation.started.client_session_id == "me"
    assert animation.started.generation == info.default_generation
    assert animation.started.limits == info.limits
    assert animation.summary.audio_samples == speech.samples
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", "generation.steps")


def test_what_is_asked_for_reaches_the_server_and_the_rest_is_absent() -> None:
    speech, service = clip(channels=2), FakeService()
    with served(service) as address, AvatarClient(address) as client:
        list(
            client.animate(
                FACE,
                speech.chunks(40),
                speech.format,
                video=VideoFormat("png", 96, 64),
                generation=GenerationSettings(steps=6, sampler="flow_euler", seed=0),
                client_session_id="me",
            )
        )
    assert service.start == pb.Start(
        client_session_id="me",
        portrait=pb.Portrait(image=FACE),
        audio_format=pb.AudioFormat(
            encoding=pb.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=RATE, channels=2
        ),
        video_format=pb.VideoFormat(encoding=pb.FRAME_ENCODING_PNG, width=96, height=64),
        generation=pb.GenerationSettings(steps=6, sampler=pb.SAMPLER_FLOW_EULER, seed=0),
    )


@pytest.mark.parametrize(
    ("encoding", "tolerance"), [("jpeg", 3), ("png", 0), ("rgb", 0), ("webp", 6)]
)
def test_a_frame_of_any_encoding_becomes_a_picture(encoding: FrameEncoding, tolerance: int) -> None:
    speech = clip()
    with served(FakeService()) as address, AvatarClient(address) as client:
        video = VideoFormat(encoding)
        frames = list(client.animate(FACE, speech.chunks(40), speech.format, video=video))
    picture = frames[7].to_numpy()
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - colour(7)).max() <= tolerance


async def test_h264_frames_become_pictures_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def shown(encoding: FrameEncoding) -> list[Frame]:
        video = VideoFormat(encoding)
        return [f async for f in client.animate(gateway.portrait(), clip(), video=video)]

    async with (
        gateway.served(FakeEngine(), tmp_path, gateway.small_windows()) as running,
        AsyncAvatarClient(running.address) as client,
    ):
        plain, encoded = await shown("rgb"), await shown("h264")
    decoder = FrameDecoder()
    pictures = [decoder.picture(frame) for frame in encoded]
    assert [frame.key_frame for frame in encoded[:3]] == [True, False, False]
    assert [p.mean() for p in pictures] == pytest.approx(
        [frame.to_numpy().mean() for frame in plain], abs=4
    )
    with pytest.raises(ValueError, match="use FrameDecoder"):
        encoded[0].to_numpy()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match="`mp4`"):
        FrameDecoder().picture(encoded[0])


@pytest.mark.parametrize("kind", ["webm", "gif", "fragmented_mp4"])
async def test_a_film_of_another_kind_comes_in_pieces(kind: FilmKind) -> None:
    service, pieces = FakeService(), list[bytes]()
    with served(service) as address:
        with AvatarClient(address) as client:
            film = client.render(FACE, clip(), kind=kind, on_bytes=pieces.append).film
        async with AsyncAvatarClient(address) as client:
            again = await client.render(FACE, clip(), kind=kind, on_bytes=pieces.append)
    assert b"".join(pieces) == film + again.film == 2 * MP4
    assert service.render.output == FILMS[kind]


async def test_a_rendering_is_put_together_from_its_pieces() -> None:
    speech, service = clip(), FakeService()
    with served(service) as address:
        with AvatarClient(address) as client:
            rendering = client.render(FACE, speech)
        async with AsyncAvatarClient(address) as client:
            assert await client.render(FACE, speech) == rendering
    assert rendering.film == MP4
    assert rendering.summary.realtime_factor == 1.25
    assert service.render.audio == speech.data
    assert service.render.output == pb.RENDER_OUTPUT_MP4


async def test_server_info_leaves_out_what_this_client_does_not_know() -> None:
    with served(FakeService()) as address:
        with AvatarClient(address) as client:
            info = client.server_info()
        async with AsyncAvatarClient(address) as client:
            assert await client.server_info() == info
    assert info.variant == "flash"
    assert info.sizes == (SIZE,)
    assert info.frame_encodings == ("png",)
    assert info.default_generation.steps == 8
    assert info.default_generation.negative_prompt is None
    assert (info.styles, info.presets) == ({"natural": "daylight"}, {"fast": 6})
    assert info.idle_modes == ("warp", "still")
    assert info.settings == (
        Setting("steps", "Denoising steps.", 1, 50, changes_in_stream=True),
        Setting("seed", "The seed of the noise.", None, None, changes_in_stream=False),
    )


def test_leaving_the_loop_ends_the_call() -> None:
    told, source_ended = [], threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(1280)
        finally:
            source_ended.set()

    with served(FakeService()) as address, AvatarClient(address) as client:
        for frame in client.animate(FACE, endless(), AudioFormat("s16le", RATE)):
            told.append(frame.index)
            if len(told) == 3:
                break
        assert source_ended.wait(10)
    assert told == [0, 1, 2]


def call_error(service: FakeService) -> CallError:
    speech = clip()
    with (
        served(service) as address,
        AvatarClient(address) as client,
        pytest.raises(CallError) as caught,
    ):
        list(client.animate(FACE, speech.chunks(40), speech.format))
    return caught.value


def test_a_refused_field_is_named() -> None:
    error = call_error(FakeService(refuse=FIELD_REFUSED))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.reason == "INVALID_FIELD"
    assert error.field == "start.video_format.width"
    assert error.metadata == {"field": "x"}
    assert error.retry_after_s is None
    assert str(error) == "start.video_format.width: 5x5 is not offered"


def test_a_full_server_says_when_to_come_back() -> None:
    error = call_error(FakeService(refuse=SERVER_FULL))
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.reason == "NO_FREE_STREAM"
    assert error.retry_after_s == 1.5
    assert error.field is None


@pytest.mark.parametrize("chunks", [0, 3])
async def test_asynchronous_calls_raise_the_same_errors(chunks: int) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1280)

    with served(FakeService(refuse=SERVER_FULL, refuse_after_chunks=chunks)) as address:
        async with AsyncAvatarClient(address) as client:
            with pytest.raises(CallError) as caught:
                async for _ in client.animate(FACE, endless(), AudioFormat("s16le", RATE)):
                    pass
    assert caught.value.reason == "NO_FREE_STREAM"
    assert caught.value.retry_after_s == 1.5


async def test_render_and_server_info_raise_the_same_errors() -> None:
    with served(FakeService(refuse=SERVER_FULL)) as address:
        with AvatarClient(address) as client:
            with pytest.raises(CallError, match="all 4 streams"):
                client.render(FACE, clip())
            with pytest.raises(CallError, match="all 4 streams"):
                client.server_info()
        async with AsyncAvatarClient(address) as client:
            with pytest.raises(CallError, match="all 4 streams"):
                await client.render(FACE, clip())
            with pytest.raises(CallError, match="all 4 streams"):
                await client.server_info()


def test_an_error_without_details_has_none() -> None:
    with AvatarClient("127.0.0.1:1") as client, pytest.raises(CallError) as caught:
        client.server_info()
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert (caught.value.reason, caught.value.field) == (None, None)


class MicrophoneError(Exception):
    """What an audio source of a caller's may raise."""


def test_what_the_audio_source_raises_is_raised() -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(1280)
        raise MicrophoneError

    with served(FakeService()) as address, AvatarClient(address) as client:
        animation = client.animate(FACE, broken(), AudioFormat("s16le", RATE))
        with pytest.raises(MicrophoneError):
            list(animation)


async def test_what_the_asynchronous_audio_source_raises_is_raised() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(1280)
        raise MicrophoneError

    with served(FakeService()) as address:
        async with AsyncAvatarClient(address) as client:
            with pytest.raises(MicrophoneError):
                async for _ in client.animate(FACE, broken(), AudioFormat("s16le", RATE)):
                    pass
