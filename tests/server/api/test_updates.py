"""Changes of settings in a stream, over real gRPC, with a fake engine."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from server.errors import EngineUnavailableError
from server.triton.contract import Variant
from tests.support.gated_engine import GatedEngine
from tests.support.serving import (
    END,
    PAUSE,
    Served,
    animate,
    chunk,
    frames,
    manifest,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
)

RATE = 16_000


@pytest.fixture
def engine() -> GatedEngine:
    return GatedEngine()


@pytest.fixture
async def server(engine: GatedEngine, tmp_path: Path) -> AsyncIterator[Served]:
    async with served(engine, tmp_path, small_windows()) as running:
        yield running


def update(update_id: str = "", **generation: Any) -> pb.AnimateRequest:
    settings = pb.GenerationSettings(**generation)
    return pb.AnimateRequest(update=pb.Update(update_id=update_id, generation=settings))


def kinds(answers: list[pb.AnimateResponse]) -> list[str | None]:
    return [answer.WhichOneof("message") for answer in answers]


async def test_an_update_before_audio_is_as_if_the_stream_had_started_with_it(
    server: Served,
) -> None:
    changes: dict[str, Any] = {"steps": 3, "prompt": "portrait", "sampler": pb.SAMPLER_FLOW_DPMPP}
    speaks = said(speech(RATE))
    answers = await animate(server, [start(), update("mine", **changes), *speaks])
    begun = start(generation=pb.GenerationSettings(**changes))
    expected = await animate(server, [begun, *speaks])
    assert kinds(answers)[:3] == ["started", "updated", "utterance"]
    updated = answers[1].updated
    assert updated.update_id == "mine"
    assert updated.generation == expected[0].started.generation
    assert (updated.utterance_id, updated.window, updated.frame_index) == (0, 0, 0)
    assert [f.data for f in frames(answers)] == [f.data for f in frames(expected)]
    assert answers[0].started.limits.max_waiting_updates == 16


async def test_later_windows_are_made_with_an_update(server: Served) -> None:
    call = server.stub.Animate()
    reading = aiter(call)
    await call.write(start())
    # The first window is 5 frames and waits for 2 more; its last 2 are held back.
    await call.write(chunk(speech(7 * 640).tobytes()))
    assert kinds([await anext(reading) for _ in range(5)])[2:] == ["frame"] * 3
    await call.write(update("more", steps=5))
    answer = await anext(reading)
    assert answer.updated.generation.steps == 5
    assert (answer.updated.window, answer.updated.frame_index) == (1, 3)
    await call.write(END)
    rest = [answer async for answer in reading]
    assert [frame.index for frame in frames(rest)] == [3, 4, 5, 6]


async def test_between_utterances_the_next_one_is_told(server: Served) -> None:
    piece = chunk(speech(1_000).tobytes())
    call = server.stub.Animate()
    reading = aiter(call)
    for message in (start(), piece, PAUSE):
        await call.write(message)
    while (await anext(reading)).utterance.phase != pb.UTTERANCE_PHASE_ENDED:
        pass
    await call.write(update("next", steps=1))
    updated = (await anext(reading)).updated
    assert (updated.utterance_id, updated.window, updated.frame_index) == (1, 0, 2)
    call.cancel()


BAD: dict[str, dict[str, Any]] = {
    "steps": {"steps": 51},
    "audio_guidance": {"audio_guidance": float("nan")},
    "shift": {"shift": float("inf")},
    "guidance_skip_ratio": {"guidance_skip_ratio": -0.5},
    "sampler": {"sampler": 99},
    "prompt": {"prompt": "calm"},
    "negative_prompt": {"negative_prompt": "bad"},
    "dynamic_text_guidance": {"dynamic_text_guidance": False},
    "teacache.threshold": {"teacache": pb.TeaCache(threshold=11)},
    "teacache.warm_up": {"teacache": pb.TeaCache(warm_up=0)},
    "teacache.policy": {"teacache": pb.TeaCache(policy=99)},  # pyright: ignore[reportArgumentType]
    "teacache.off": {"teacache": pb.TeaCache(off=True, warm_up=1)},
}


@pytest.mark.parametrize("field", BAD)
async def test_what_a_start_refuses_an_update_refuses_with_the_same_words(
    engine: GatedEngine, tmp_path: Path, field: str
) -> None:
    styles = {"studio": "studio light"}
    offer = manifest().model_copy(update={"styles": styles})
    settings = small_windows(prompt="studio light")
    async with served(engine, tmp_path, settings, offer=offer) as server:
        wrong = start(generation=pb.GenerationSettings(**BAD[field]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await animate(server, [wrong, END])
        expected = refusal(caught.value)
        messages = [start(), update("bad", **BAD[field]), *said(speech(640))]
        answers = await animate(server, messages)
    refused = answers[1].update_refused
    assert (refused.update_id, refused.reason) == ("bad", expected.reason)
    assert refused.field == f"update.generation.{field}"
    assert f"start.{refused.field.removeprefix('update.')}" == expected.field
    assert f"start.{refused.message.removeprefix('update.')}" == expected.text
    assert len(frames(answers)) == 1


async def test_the_seed_stays(server: Served) -> None:
    messages = [start(), update("a", seed=1), update("b", seed=43), *said(speech(640))]
    answers = await animate(server, messages)
    refused = answers[1].update_refused
    assert (refused.update_id, refused.field) == ("a", "update.generation.seed")
    assert "cannot be changed in a stream" in refused.message
    assert answers[2].updated.generation.seed == 43


async def test_a_style_is_asked_for_by_its_name(engine: GatedEngine, tmp_path: Path) -> None:
    styles = {"studio": "studio light", "calm": "soft light"}
    offer = manifest().model_copy(update={"styles": styles})
    async with served(
        engine, tmp_path, small_windows(prompt="studio light"), offer=offer
    ) as server:
        answers = await animate(server, [start(), update(prompt="calm"), *said(speech(640))])
    assert answers[1].updated.generation.prompt == "soft light"


@pytest.mark.parametrize("variant", ["flash", "preview"])
async def test_an_update_reports_what_started_does(
    engine: GatedEngine, tmp_path: Path, variant: Variant
) -> None:
    async with served(engine, tmp_path, small_windows(), variant) as server:
        answers = await animate(server, [start(), update(), END])
    (updated,) = [a.updated for a in answers if a.HasField("updated")]
    assert updated.generation == answers[0].started.generation


async def test_a_failing_encoder_refuses_the_update_by_its_reason(
    server: Served, engine: GatedEngine
) -> None:
    call = server.stub.Animate()
    reading = aiter(call)
    await call.write(start())
    await call.write(chunk(speech(7 * 640).tobytes()))
    while (await anext(reading)).WhichOneof("message") != "frame":
        pass
    engine.errors["text_encoder"] = EngineUnavailableError("text_encoder", "no Triton")
    await call.write(update("lost", prompt="portrait"))
    await call.write(END)
    answers = [answer async for answer in reading]
    (refused,) = [a.update_refused for a in answers if a.HasField("update_refused")]
    assert (refused.update_id, refused.reason) == ("lost", "ENGINE_UNAVAILABLE")
    assert (refused.field, "text_encoder" in refused.message) == ("", True)
    assert len(frames(answers)) == 6
    assert kinds(answers)[-1] == "summary"


async def test_more_updates_than_may_wait_are_refused_and_all_are_answered(
    server: Served, engine: GatedEngine
) -> None:
    call = server.stub.Animate()
    reading = aiter(call)
    await call.write(start())
    await engine.close_gate("text_encoder")
    for number in range(17):
        await call.write(update(str(number), prompt=f"portrait {number}"))
    assert (await anext(reading)).HasField("started")
    refused = (await anext(reading)).update_refused
    assert (refused.update_id, refused.reason) == ("16", "LIMIT_EXCEEDED")
    assert "max_waiting_updates" in refused.message
    engine.open_gate("text_encoder")
    await call.write(END)
    answers = [answer async for answer in reading]
    assert [a.updated.update_id for a in answers[:-1]] == [str(number) for number in range(16)]


async def test_after_the_end_an_update_is_refused_as_any_message_is(
    server: Served, engine: GatedEngine
) -> None:
    engine.delay_s = 0.05
    messages = [start(), chunk(speech(6_400).tobytes()), END, update()]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await animate(server, messages)
    refused = refusal(caught.value)
    assert (refused.code, refused.field) == (grpc.StatusCode.INVALID_ARGUMENT, "update")


async def test_an_update_is_answered_whatever_was_said_before_it(
    server: Served, engine: GatedEngine
) -> None:
    seconds = 300
    call = server.stub.Animate()
    await call.write(start())
    engine.delay_s = 0.01
    piece = chunk(bytes(RATE * 2))
    writing = asyncio.create_task(_burst(call, [*[piece] * seconds, update("now", steps=1)]))
    answers: list[pb.AnimateResponse] = []
    async for answer in call:
        answers.append(answer)
        if answer.HasField("updated"):
            break
    updated = answers[-1].updated
    assert updated.update_id == "now"
    # All of the speech was taken in long before it could have been drawn.
    assert len(frames(answers)) <= updated.frame_index < 25 * seconds
    await writing
    call.cancel()


async def _burst(call: Any, messages: list[pb.AnimateRequest]) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for message in messages:
            await call.write(message)
