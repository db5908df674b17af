"""Streams and films of other rates than the model's."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from tests.support.fake_engine import FakeEngine
from tests.support.serving import (
    END,
    PAUSE,
    Served,
    animate,
    chunk,
    frames,
    portrait,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
)

RATE = 16_000


def video(number: int, denominator: int = 0, **changes: Any) -> pb.VideoFormat:
    return pb.VideoFormat(
        encoding=pb.FRAME_ENCODING_RGB,
        frames_per_second=number,
        frames_per_second_denominator=denominator,
        **changes,
    )


async def streamed(server: Served, form: pb.VideoFormat, *lengths: int) -> list[Any]:
    messages = [start(video_format=form)]
    for length in lengths:
        messages += [chunk(speech(length).tobytes()), PAUSE]
    return await animate(server, [*messages, END])


async def test_fifteen_frames_a_second_of_a_minute_are_900(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows(window_ladder=(33,))) as server:
        answers = await streamed(server, video(15), 60 * RATE)
    shown = frames(answers)
    assert [frame.index for frame in shown] == list(range(900))
    for frame in shown:
        assert frame.first_audio_sample == frame.index * RATE // 15
        assert frame.presentation_time.ToNanoseconds() == frame.index * 10**9 // 15
    assert answers[-1].summary.frames == 900


@pytest.mark.parametrize("blends", [False, True])
@pytest.mark.parametrize(("number", "denominator"), [(8, 1), (24_000, 1001), (30_000, 1001)])
async def test_utterances_have_the_frames_of_their_own_length(
    tmp_path: Path, number: int, denominator: int, blends: bool
) -> None:
    rate, lengths = Fraction(number, denominator), (RATE + 1, 639, 2 * RATE)
    async with served(FakeEngine(), tmp_path, small_windows()) as server:
        form = video(number, denominator, blend_frames=blends)
        answers = await streamed(server, form, *lengths)
    started = answers[0].started.video_format
    assert Fraction(started.frames_per_second, started.frames_per_second_denominator) == rate
    assert started.blend_frames == blends
    index, sample, shown = 0, 0, frames(answers)
    for utterance, length in enumerate(lengths):
        own = [frame for frame in shown if frame.utterance_id == utterance]
        assert len(own) == -(-length * rate // RATE)
        assert [frame.index for frame in own] == list(range(index, index + len(own)))
        begins = [frame.first_audio_sample for frame in own]
        assert begins == [sample + n * RATE // rate for n in range(len(own))]
        index, sample = index + len(own), sample + length
    ends = [a.utterance for a in answers if a.utterance.phase == pb.UTTERANCE_PHASE_ENDED]
    assert ends[-1].frame_index == len(shown) - 1
    assert ends[-1].audio_sample == sum(lengths)


async def test_nearest_frames_are_those_of_the_models_rate(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows()) as server:
        own = frames(await streamed(server, video(25), RATE))
        fewer = frames(await streamed(server, video(15), RATE))
    assert len(fewer) == 15
    chosen = [own[(2 * n * 25 + 15) // 30] for n in range(15)]
    assert [frame.data for frame in fewer] == [frame.data for frame in chosen]


async def test_the_operators_rate_holds_where_none_is_stated(tmp_path: Path) -> None:
    settings = small_windows(target_fps="29.97")
    async with served(FakeEngine(), tmp_path, settings) as server:
        answers = await animate(server, [start(), *said(speech(RATE))])
    form = answers[0].started.video_format
    assert (form.frames_per_second, form.frames_per_second_denominator) == (30_000, 1001)
    assert len(frames(answers)) == 30


@pytest.mark.parametrize(
    ("form", "field"),
    [
        (video(7), "frames_per_second"),
        (video(31), "frames_per_second"),
        (video(-15), "frames_per_second"),
        (video(30, 2), "frames_per_second_denominator"),
        (video(0, 1001), "frames_per_second_denominator"),
        (video(15, -1), "frames_per_second_denominator"),
    ],
)
async def test_rates_that_are_not_offered_are_refused(
    tmp_path: Path, form: pb.VideoFormat, field: str
) -> None:
    async with served(FakeEngine(), tmp_path, small_windows()) as server:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await animate(server, [start(video_format=form)])
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refusal(error.value).field == f"start.video_format.{field}"


def film(form: pb.VideoFormat, **changes: Any) -> pb.RenderRequest:
    return pb.RenderRequest(
        portrait=pb.Portrait(image=portrait()),
        audio_format=pb.AudioFormat(encoding=pb.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=RATE),
        audio=speech(2 * RATE).tobytes(),
        video_format=form,
        **changes,
    )


async def test_a_film_has_the_rate_and_all_the_sound(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows()) as server:
        answers = [answer async for answer in server.stub.Render(film(video(30_000, 1001)))]
    data = b"".join(answer.mp4_chunk.data for answer in answers)
    with av.open(io.BytesIO(data)) as container:
        (pictures,) = container.streams.video
        assert pictures.average_rate == Fraction(30_000, 1001)
        assert pictures.frames == 60
        (sound,) = container.streams.audio
        length_s = (sound.duration or 0) * (sound.time_base or 0)
        assert float(length_s) == pytest.approx(2, abs=0.05)


async def test_an_exact_clip_of_another_rate_is_refused(tmp_path: Path) -> None:
    request = film(video(15), exact_clip=pb.ExactClip(), output=pb.RENDER_OUTPUT_FRAMES)
    async with served(FakeEngine(), tmp_path, small_windows()) as server:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            async for _ in server.stub.Render(request):
                pass
    assert refusal(error.value).field == "video_format.frames_per_second"
