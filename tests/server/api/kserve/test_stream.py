"""ModelStreamInfer over real gRPC, by Triton's own client, with a fake engine."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from tritonclient.grpc import InferRequestedOutput

from server.triton.engine import Engine
from tests.support import kserve
from tests.support.gated_engine import GatedEngine
from tests.support.kserve import Answer, ask, asked, audio
from tests.support.serving import (
    Served,
    animate,
    chunk,
    frames,
    portrait,
    served,
    small_windows,
    speech,
    start,
    until,
)

SECOND = 16_000
PORTRAIT = kserve.portrait(portrait())


@pytest.fixture
def engine() -> GatedEngine:
    return GatedEngine()


@pytest.fixture
async def server(engine: Engine, tmp_path: Path) -> AsyncIterator[Served]:
    settings = small_windows(max_streams=2, max_render_audio_s=70, max_stream_audio_s=70)
    async with served(engine, tmp_path, settings, default_portrait=portrait()) as running:
        yield running


async def of_animate(server: Served, samples: Any, **changes: Any) -> list[pb.Frame]:
    """The frames that Animate makes of the same speech."""
    fields = {"video_format": pb.VideoFormat(), **changes}
    return frames(await animate(server, [start(**fields), chunk(samples.tobytes())]))


def pictures(answers: list[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.frame is not None]


async def test_frames_are_those_of_animate(server: Served) -> None:
    samples = speech(SECOND)
    *made, last = await ask(server.address, asked(audio(samples), PORTRAIT, request_id="a"))
    expected = await of_animate(server, samples)
    assert [answer.frame for answer in made] == [frame.data for frame in expected]
    assert [answer.index for answer in made] == list(range(25))
    assert [answer.time_ns for answer in made] == [n * 40_000_000 for n in range(25)]
    assert {(answer.id, answer.is_final) for answer in made} == {("a", False)}
    assert last == Answer("a", is_final=True)


async def test_an_avatar_takes_the_place_of_a_portrait(server: Served) -> None:
    samples = speech(SECOND // 5)
    request = pb.CreateAvatarRequest(portrait=pb.Portrait(image=portrait(256)))
    avatar_id = (await server.stub.CreateAvatar(request)).avatar.avatar_id
    named = {"avatar_id": avatar_id}
    own = kserve.portrait(portrait(256))
    of_avatar = await ask(server.address, asked(audio(samples), parameters=named))
    of_portrait = await ask(server.address, asked(audio(samples), own))
    assert len(pictures(of_avatar)) == 5
    assert [answer.frame for answer in of_avatar] == [answer.frame for answer in of_portrait]
    (both,) = await ask(server.address, asked(audio(samples), PORTRAIT, parameters=named))
    assert "portrait: was sent with the parameter avatar_id" in both.error
    unknown = asked(audio(samples), parameters={"avatar_id": "unknown"})
    assert "AVATAR_NOT_FOUND: parameters.avatar_id" in (await ask(server.address, unknown))[0].error


async def test_the_end_is_told_to_whom_it_interests(server: Served) -> None:
    request = asked(audio(speech(SECOND // 5)), enable_empty_final_response=False)
    assert [answer.is_final for answer in await ask(server.address, request)] == 5 * [False]


async def test_parameters_are_those_of_a_start(server: Served) -> None:
    samples = speech(SECOND // 2)
    parameters = {
        "size": "96x64",
        "steps": 3,
        "seed": 7,
        "audio_guidance": 4.5,
        "sampler": "flow_euler",
        "teacache_threshold": 0.2,
        "jpeg_quality": 50,
    }
    made = await ask(server.address, asked(audio(samples), parameters=parameters))
    generation = pb.GenerationSettings(
        steps=3,
        seed=7,
        audio_guidance=4.5,
        sampler=pb.SAMPLER_FLOW_EULER,
        teacache=pb.TeaCache(threshold=0.2),
    )
    video = pb.VideoFormat(width=96, height=64, jpeg_quality=50)
    expected = await of_animate(server, samples, generation=generation, video_format=video)
    assert [answer.frame for answer in pictures(made)] == [frame.data for frame in expected]


async def test_only_the_outputs_asked_for_come(server: Served) -> None:
    outputs = [InferRequestedOutput("index")]
    *made, _ = await ask(server.address, asked(audio(speech(SECOND // 5)), outputs=outputs))
    assert [(answer.index, answer.frame) for answer in made] == [(n, None) for n in range(5)]


async def test_requests_of_one_stream_are_answered_side_by_side(
    server: Served,
) -> None:
    samples = speech(SECOND // 2)
    made = await ask(server.address, *(asked(audio(samples), request_id=name) for name in "ab"))
    of_a, of_b = ([of.frame for of in pictures(made) if of.id == name] for name in "ab")
    assert len(of_a) == 13
    assert of_a == of_b


async def test_a_sequence_is_one_live_stream(server: Served) -> None:
    samples = speech(2 * SECOND)
    pieces = np.split(samples, [SECOND, SECOND + 300, 2 * SECOND])
    requests = [
        asked(
            audio(piece),
            request_id=str(number),
            sequence_id=9,
            sequence_start=number == 0,
            sequence_end=number == 3,
        )
        for number, piece in enumerate(pieces)
    ]
    made = await ask(server.address, *requests)
    expected = await of_animate(server, samples)
    assert [answer.frame for answer in pictures(made)] == [frame.data for frame in expected]
    # Each frame answers the request in whose audio it begins; the last request only ends.
    counted = {name: len(list(of)) for name, of in itertools.groupby(made, lambda of: of.id)}
    assert counted == {"0": 25 + 1, "1": 1 + 1, "2": 24 + 1, "3": 1}
    assert [answer.id for answer in made if answer.is_final] == ["0", "1", "2", "3"]


async def test_a_sequence_answers_before_it_ends(server: Served) -> None:
    async with kserve.streaming(server.address) as stream:
        stream.send(asked(audio(speech(SECOND)), sequence_id="live", sequence_start=True))
        first = await stream.answer()
        # Half-closing ends what the client has left open.
        rest = await stream.finish()
    assert len(pictures([first, *rest])) == 25
    assert rest[-1].is_final


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"steps": 0}, "INVALID_FIELD: parameters.steps: is 0; send 1 to 50"),
        ({"steps": "many"}, "INVALID_FIELD: parameters.steps: is 'many'; send a int"),
        ({"steps": 2**40}, f"INVALID_FIELD: parameters.steps: is {2**40}, which is out of range"),
        ({"size": "32x32"}, "parameters.size: 32x32 is not offered; ask for one of 64x64, 96x64"),
        ({"size": "large"}, "parameters.size: is 'large'; send width and height, as 512x512"),
        ({"sampler": "best"}, "parameters.sampler: is 'best'; send one of flow_unipc, flow_euler"),
        ({"teacache_warm_up": 9}, "parameters.teacache_warm_up: is 9; send 1 to 2"),
        ({"jpeg_quality": 101}, "parameters.jpeg_quality: is 101; send 0 to 100"),
        ({"text_guidance": 2.0}, "parameters.text_guidance: has no effect in this variant"),
        ({"tempo": 1}, "parameters.tempo: is unknown; send any of audio_guidance"),
    ],
)
async def test_a_parameter_is_refused_by_name(
    server: Served, parameters: dict[str, Any], problem: str
) -> None:
    refused, *made = await ask(
        server.address,
        asked(audio(speech(SECOND // 5)), parameters=parameters),
        asked(audio(speech(SECOND // 5))),
    )
    assert problem in refused.error
    assert len(pictures(made)) == 5, "the stream goes on"


async def test_a_portrait_is_refused_by_name(server: Served) -> None:
    picture = kserve.portrait(b"no picture")
    (refused,) = await ask(server.address, asked(audio(speech(SECOND)), picture))
    assert "INVALID_FIELD: portrait: " in refused.error


async def test_a_server_without_a_portrait_asks_for_one(engine: Engine, tmp_path: Path) -> None:
    async with served(engine, tmp_path, small_windows()) as server:
        refused, *made = await ask(
            server.address,
            asked(audio(speech(SECOND))),
            asked(audio(speech(SECOND)), PORTRAIT),
        )
    assert refused.error.endswith("INVALID_FIELD: portrait: is missing; send a portrait file")
    assert len(pictures(made)) == 25


async def test_what_has_no_place_is_refused(server: Served, engine: GatedEngine) -> None:
    engine.gates["denoiser"] = asyncio.Event()
    request = asked(audio(speech(SECOND // 5)))
    async with kserve.streaming(server.address) as stream:
        stream.send(request, request, request)
        assert "NO_FREE_STREAM: all 2 places are taken" in (await stream.answer()).error
        engine.open_gate("denoiser")
        assert len(pictures(await stream.finish())) == 10
    assert server.gateway.admission.active == 0


async def test_cancelling_frees_the_place(server: Served, engine: GatedEngine) -> None:
    engine.gates["denoiser"] = asyncio.Event()
    async with kserve.streaming(server.address) as stream:
        stream.send(asked(audio(speech(SECOND)), sequence_id=1, sequence_start=True))
        await until(lambda: server.gateway.admission.active == 1)
        await stream.finish(cancel=True)
        await until(lambda: server.gateway.admission.active == 0)


async def test_an_engine_that_fails_ends_the_request_alone(
    server: Served, engine: GatedEngine
) -> None:
    engine.errors["vae_decoder"] = RuntimeError("secret")
    async with kserve.streaming(server.address) as stream:
        stream.send(asked(audio(speech(SECOND // 5))))
        refused = await stream.answer()
        assert "INTERNAL: internal error; quote" in refused.error
        assert "secret" not in refused.error
        del engine.errors["vae_decoder"]
        stream.send(asked(audio(speech(SECOND // 5))))
        assert len(pictures(await stream.finish())) == 5


async def test_a_running_sequence_has_its_id_to_itself(server: Served) -> None:
    begins = asked(audio(speech(SECOND)), sequence_id=5, sequence_start=True)
    ends = asked(audio(speech(0)), sequence_id=5, sequence_end=True)
    made = await ask(server.address, begins, begins, ends, begins)
    (refused,) = [answer for answer in made if answer.error]
    assert "parameters.sequence_id: is of a sequence that goes on" in refused.error
    assert len(pictures(made)) == 50, "after its end the id is free"


async def test_a_sequence_begins_with_its_start(server: Served) -> None:
    (refused,) = await ask(server.address, asked(audio(speech(SECOND)), sequence_id=5))
    assert "set sequence_start on its first request" in refused.error


async def test_a_sequence_is_stated_once(server: Served) -> None:
    begins = asked(audio(speech(SECOND)), sequence_id=5, sequence_start=True, request_id="a")
    states = asked(audio(speech(SECOND)), sequence_id=5, parameters={"steps": 1}, request_id="b")
    made = await ask(server.address, begins, states)
    refused = [answer.error for answer in made if answer.error]
    assert len(refused) == 2, "what is refused ends the sequence"
    assert "parameters.steps: is stated by the first request" in refused[0]
    assert server.gateway.admission.active == 0


async def test_a_sequence_that_says_nothing_is_ended(tmp_path: Path, engine: Engine) -> None:
    settings = small_windows(idle_timeout_s=0.2)
    async with (
        served(engine, tmp_path, settings, default_portrait=portrait()) as server,
        kserve.streaming(server.address) as stream,
    ):
        stream.send(asked(audio(speech(SECOND)), sequence_id=5, sequence_start=True))
        while not (answer := await stream.answer()).error:
            pass
        assert "nothing was received for 0.2 s" in answer.error
        await until(lambda: server.gateway.admission.active == 0)


async def test_speech_is_bounded(server: Served) -> None:
    long = np.zeros(70 * SECOND + 1, np.int16)
    (alone,) = await ask(server.address, asked(audio(long)))
    assert "LIMIT_EXCEEDED: the audio is longer than 70 s (limit `max_render_audio`)" in alone.error
    live = asked(audio(long), sequence_id=1, sequence_start=True)
    (live_refused,) = await ask(server.address, live)
    assert "(limit `max_stream_audio`)" in live_refused.error


async def test_a_million_samples_are_drawn(server: Served) -> None:
    samples = np.zeros(10**6, np.int16)
    outputs = [InferRequestedOutput("index")]
    *made, last = await ask(server.address, asked(audio(samples), outputs=outputs))
    assert [answer.index for answer in made] == list(range(-(-(10**6) // 640)))
    assert last.is_final


async def test_warnings_come_with_a_response(server: Served) -> None:
    loud = (np.sign(speech(SECOND)) * 32767).astype(np.int16)
    made = await ask(server.address, asked(audio(loud), kserve.portrait(portrait(100))))
    told = " ".join(answer.warnings for answer in made)
    assert "PORTRAIT_UPSCALED" in told or "PORTRAIT" in told
    assert "AUDIO_CLIPPED" in told


async def test_a_stream_without_a_request_ends(server: Served) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")()
        await call.done_writing()
        assert [answer async for answer in call] == []
