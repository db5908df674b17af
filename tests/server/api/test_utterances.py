"""Utterances and interruptions, over real gRPC, with a fake engine."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fake_engine import FakeEngine
from tests.support.pipeline_reference import Recorder
from tests.support.serving import (
    END,
    PAUSE,
    Served,
    animate,
    chunk,
    frames,
    said,
    served,
    small_windows,
    speech,
    start,
    until,
)

RATE = 16_000
FRAME = 640
INTERRUPT = pb.AnimateRequest(interrupt=pb.Interrupt())
UPDATE = pb.AnimateRequest(update=pb.Update(generation=pb.GenerationSettings(steps=3)))
MARKS = {"pause": PAUSE, "interrupt": INTERRUPT, "update": UPDATE}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def server(engine: FakeEngine, tmp_path: Path) -> AsyncIterator[Served]:
    async with served(engine, tmp_path, small_windows()) as running:
        yield running


def events(answers: list[pb.AnimateResponse]) -> list[tuple[int, int, int, int]]:
    return [
        (event.utterance_id, event.phase, event.frame_index, event.audio_sample)
        for answer in answers
        if answer.WhichOneof("message") == "utterance"
        for event in [answer.utterance]
    ]


async def test_each_utterance_has_every_frame_and_the_numbers_go_on(server: Served) -> None:
    first, second = speech(1_000, seed=1), speech(5_000, seed=2)
    messages = [start(), chunk(first.tobytes()), PAUSE, chunk(second.tobytes()), END]
    answers = await animate(server, messages)
    sent = frames(answers)
    assert [frame.index for frame in sent] == list(range(2 + 8))
    assert [frame.utterance_id for frame in sent] == [0] * 2 + [1] * 8
    expected = [n * FRAME for n in range(2)] + [1_000 + n * FRAME for n in range(8)]
    assert [frame.first_audio_sample for frame in sent] == expected
    times = [frame.presentation_time.ToMilliseconds() for frame in sent]
    assert times == [40 * n for n in range(10)]
    began, ended = pb.UTTERANCE_PHASE_BEGAN, pb.UTTERANCE_PHASE_ENDED
    assert events(answers) == [
        (0, began, 0, 0),
        (0, ended, 1, 1_000),
        (1, began, 2, 1_000),
        (1, ended, 9, 6_000),
    ]
    assert answers[-1].summary.audio_samples == 6_000
    assert answers[-1].summary.frames == 10


async def test_an_utterance_is_drawn_as_if_it_were_alone(server: Served) -> None:
    one, two = speech(4_000, seed=1), speech(7_000, seed=2)
    messages = [start(), chunk(one.tobytes()), PAUSE, chunk(two.tobytes()), END]
    together = [frame.data for frame in frames(await animate(server, messages))]
    alone = [
        frame.data
        for samples in (one, two)
        for frame in frames(await animate(server, [start(), *said(samples)]))
    ]
    assert together == alone


async def test_the_tail_leaves_while_the_stream_goes_on(server: Served) -> None:
    call = server.stub.Animate()
    await call.write(start())
    await call.write(chunk(speech(FRAME + 1).tobytes()))
    await call.write(PAUSE)
    kinds = [(await call.read()).WhichOneof("message") for _ in range(5)]
    assert kinds == ["started", "utterance", "frame", "frame", "utterance"]
    call.cancel()


async def test_an_empty_utterance_is_none(server: Served) -> None:
    messages = [start(), PAUSE, PAUSE, chunk(speech(FRAME).tobytes()), PAUSE, PAUSE, END]
    answers = await animate(server, messages)
    assert [frame.utterance_id for frame in frames(answers)] == [0]


async def test_an_interruption_drops_what_was_not_sent(server: Served, engine: FakeEngine) -> None:
    engine.delay_s = 0.02
    call = server.stub.Animate()
    await call.write(start())
    await call.write(chunk(speech(20 * RATE).tobytes()))
    seen = 0
    while seen < 3:
        seen += (await call.read()).WhichOneof("message") == "frame"
    await call.write(INTERRUPT)
    await call.write(chunk(speech(FRAME, seed=9).tobytes()))
    await call.write(END)
    answers = [answer async for answer in _rest(call)]
    kinds = [answer.WhichOneof("message") for answer in answers]
    at = kinds.index("interrupted")
    before = seen + kinds[:at].count("frame")
    interrupted = answers[at].interrupted
    assert interrupted.last_frame_index == before - 1
    assert interrupted.next_audio_sample == before * FRAME
    assert kinds[at + 1 :] == ["utterance", "frame", "utterance", "summary"]
    frame = answers[at + 2].frame
    assert (frame.index, frame.utterance_id) == (before, 1)
    assert frame.first_audio_sample == 20 * RATE
    (alone,) = frames(await animate(server, [start(), *said(speech(FRAME, seed=9))]))
    assert frame.data == alone.data


async def _rest(call: Any) -> AsyncIterator[pb.AnimateResponse]:
    while (answer := await call.read()) and answer is not None:
        yield answer
        if answer.WhichOneof("message") == "summary":
            return


async def test_an_interruption_stops_the_work(server: Served, engine: FakeEngine) -> None:
    engine.delay_s = 0.01
    call = server.stub.Animate()
    await call.write(start())
    await call.write(chunk(speech(10 * RATE).tobytes()))
    await until(lambda: len(engine.executions) > 5)
    await call.write(INTERRUPT)
    while (await call.read()).WhichOneof("message") != "interrupted":
        pass
    before = len(engine.executions)
    await asyncio.sleep(0.1)
    assert len(engine.executions) == before
    call.cancel()


async def test_every_interruption_is_answered_even_if_nobody_reads_yet(server: Served) -> None:
    call = server.stub.Animate()
    for message in [start(), chunk(speech(64_000).tobytes()), *[INTERRUPT] * 5, END]:
        await call.write(message)
    await call.done_writing()
    answers = [answer async for answer in call]
    assert [a.WhichOneof("message") for a in answers].count("interrupted") == 5


async def test_an_interruption_goes_past_the_utterances_that_wait(
    server: Served, engine: FakeEngine
) -> None:
    engine.delay_s = 0.01
    call = server.stub.Animate()
    await call.write(start())
    for _ in range(60):
        await call.write(chunk(speech(16_000).tobytes()))
        await call.write(PAUSE)
    await call.write(INTERRUPT)
    sent = 0
    async for answer in call:
        if answer.WhichOneof("message") == "interrupted":
            break
        sent += answer.WhichOneof("message") == "frame"
    assert sent < 150
    call.cancel()


async def test_an_interruption_of_nothing_is_answered(server: Served) -> None:
    answers = await animate(server, [start(), INTERRUPT, END])
    assert answers[1].interrupted.last_frame_index == -1
    assert answers[1].interrupted.next_audio_sample == 0


STEP = st.one_of(
    st.integers(1, 4_000),
    st.sampled_from(list(MARKS)),
    st.sampled_from([0.0, 0.005, 0.03]),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(STEP, max_size=25),
    engine_delay_s=st.sampled_from([0.0, 0.002]),
    opening=st.fixed_dictionaries(
        {
            "continue_from_last_frame": st.booleans(),
            "idle_mode": st.sampled_from([pb.IDLE_MODE_STILL, pb.IDLE_MODE_MODEL]),
        }
    ),
)
def test_any_order_of_messages_at_any_time_keeps_the_rules(
    tmp_path: Path,
    steps: list[int | str | float],
    engine_delay_s: float,
    opening: dict[str, Any],
) -> None:
    answers = asyncio.run(_perform(tmp_path, steps, engine_delay_s, opening))
    _check(steps, answers)


async def _perform(
    folder: Path,
    steps: list[int | str | float],
    engine_delay_s: float,
    opening: dict[str, Any],
) -> list[pb.AnimateResponse]:
    engine = FakeEngine()
    engine.delay_s = engine_delay_s
    async with served(engine, folder, small_windows()) as server:
        call = server.stub.Animate()

        async def write() -> None:
            await call.write(start(**opening))
            for step in steps:
                match step:
                    case int():
                        await call.write(chunk(speech(step).tobytes()))
                    case float():
                        await asyncio.sleep(step)
                    case _:
                        await call.write(MARKS[step])
            await call.write(END)
            await call.done_writing()

        writing = asyncio.create_task(write())
        answers = [answer async for answer in call]
        await writing
        return answers


def _check(steps: list[int | str | float], answers: list[pb.AnimateResponse]) -> None:
    utterances, interrupted = _utterances(steps)
    kinds = [answer.WhichOneof("message") for answer in answers]
    assert kinds[0] == "started"
    assert kinds[-1] == "summary"
    assert kinds.count("interrupted") == steps.count("interrupt")
    assert kinds.count("updated") + kinds.count("update_refused") == steps.count("update")
    sent = frames(answers)
    assert [frame.index for frame in sent] == list(range(len(sent)))
    times = [frame.presentation_time.ToNanoseconds() for frame in sent]
    assert times == [index * 40_000_000 for index in range(len(sent))]
    _check_idle(sent)
    spoken = [frame for frame in sent if frame.kind == pb.FRAME_KIND_SPEECH]
    for number, samples in enumerate(utterances):
        of_it = [frame for frame in spoken if frame.utterance_id == number]
        due = -(-samples // FRAME)
        begins = sum(utterances[:number])
        assert len(of_it) <= due
        if number not in interrupted:
            assert len(of_it) == due
        expected = [begins + n * FRAME for n in range(len(of_it))]
        assert [frame.first_audio_sample for frame in of_it] == expected
    # Nothing that was said before an interruption follows its answer.
    position, allowed = 0, 0
    firsts = _first_after_interruptions(steps)
    for answer, kind in zip(answers, kinds, strict=True):
        if kind == "interrupted":
            allowed = firsts[position]
            position += 1
        if kind == "frame":
            assert answer.frame.utterance_id >= allowed
    assert answers[-1].summary.frames == len(sent)
    assert answers[-1].summary.audio_samples == sum(utterances)


def _check_idle(sent: list[pb.Frame]) -> None:
    """Idle frames are between utterances, and belong to the one that comes next."""
    for before, frame in pairwise(sent):
        assert frame.utterance_id >= before.utterance_id
        if frame.kind == pb.FRAME_KIND_IDLE and before.kind == pb.FRAME_KIND_SPEECH:
            assert frame.utterance_id > before.utterance_id


def _utterances(steps: list[int | str | float]) -> tuple[list[int], set[int]]:
    """The samples of each utterance, and which of them may have been interrupted."""
    utterances: list[int] = []
    interrupted: set[int] = set()
    going = False
    for step in steps:
        if isinstance(step, int):
            if not going:
                utterances.append(0)
            going = True
            utterances[-1] += step
        elif step == "pause":
            going = False
        elif step == "interrupt":
            going = False
            interrupted |= set(range(len(utterances)))
    return utterances, interrupted


def _first_after_interruptions(steps: list[int | str | float]) -> list[int]:
    """For each interruption the first utterance that begins after it."""
    return [
        len(_utterances(steps[:index])[0])
        for index, step in enumerate(steps)
        if step == "interrupt"
    ]


async def test_an_utterance_continues_from_the_last_frame_if_asked(tmp_path: Path) -> None:
    for continues in (False, True):
        engine = Recorder(FakeEngine())
        async with served(engine, tmp_path, small_windows()) as server:
            opening = start()
            opening.start.continue_from_last_frame = continues
            piece = chunk(speech(8_000).tobytes())
            answers = await animate(server, [opening, piece, PAUSE, piece, END])
        shown = [np.frombuffer(frame.data, np.uint8) for frame in frames(answers)]
        assert len(shown) == 26
        begins = [known for known in engine.given("vae_encoder", "known") if known.shape[1] == 1]
        assert np.array_equal(begins[-1].ravel(), shown[12]) == continues
