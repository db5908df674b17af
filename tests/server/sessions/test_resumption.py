"""What an interruption drops is said again, exactly, or refused by name."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.audio.pcm import AudioFormat
from server.errors import InvalidFieldError
from server.sessions.conversation import Conversation, converse
from server.sessions.events import (
    Event,
    Frame,
    Interrupted,
    Resumed,
    ResumeRefused,
    UtteranceBegan,
    UtteranceEnded,
)
from server.sessions.gateway import Gateway
from server.sessions.hearing import MAX_WAITING_UTTERANCES
from server.sessions.jobs import Job, Offer
from server.sessions.retiming import Retiming
from tests.support.conversations import FRAME, LIMITS, RATE, job
from tests.support.fake_engine import FakeEngine
from tests.support.serving import manifest, small_windows, speech, tokenizer

KEEPING = replace(LIMITS, resumable_s=10.0)
Samples = NDArray[np.int16]


def gateway(folder: Path) -> Gateway:
    return Gateway(Offer(small_windows(), manifest()), FakeEngine(), tokenizer(folder))


async def say(conversation: Conversation, samples: Samples) -> None:
    await conversation.push_audio(samples.tobytes(), field="audio")


async def frames_of(events: AsyncIterator[Event], count: int) -> list[Frame]:
    """Takes events up to so many frames."""
    found: list[Frame] = []
    while len(found) < count:
        event = await anext(events)
        if isinstance(event, Frame):
            found.append(event)
    return found


async def said_alone(folder: Path, asked: Job, *utterances: Samples) -> list[Frame]:
    """Returns the frames of a conversation that says nothing else."""
    async with converse(gateway(folder), asked, LIMITS) as conversation:
        for samples in utterances:
            await say(conversation, samples)
            await conversation.end_utterance()
        await conversation.end()
        return [event async for event in conversation.events() if isinstance(event, Frame)]


def check_resumed(
    frames: list[Frame], alone: list[Frame], index: int, first_sample: int, utterance: int
) -> None:
    """Sees that frames are those of what is said alone, with places that go on."""
    assert [frame.index for frame in frames] == list(range(index, index + len(alone)))
    for frame, expected in zip(frames, alone, strict=True):
        assert np.array_equal(frame.picture, expected.picture)
        assert frame.audio_sample == first_sample + expected.audio_sample
        assert frame.utterance_id == utterance + expected.utterance_id


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("frame_rate", [Fraction(25), Fraction(30_000, 1001)])
@pytest.mark.parametrize("reported", [None, 0, 5])
async def test_what_is_resumed_is_what_is_said_from_there_on(
    tmp_path: Path, rate: int, frame_rate: Fraction, reported: int | None
) -> None:
    form = replace(job().video_format, retiming=Retiming(frame_rate))
    asked = job(audio_format=AudioFormat("s16le", rate, 1), video_format=form)
    samples, second = speech(rate + 77, seed=3), speech(rate // 2, seed=4)
    async with converse(gateway(tmp_path), asked, KEEPING) as conversation:
        events = conversation.events()
        await say(conversation, samples)
        await conversation.end_utterance()
        await say(conversation, second)
        await conversation.end_utterance()
        await frames_of(events, 9)
        if reported is not None:
            conversation.played(reported, field="played")
        conversation.interrupt()
        begins = (9 if reported is None else reported + 1) * rate * frame_rate.denominator
        begins //= frame_rate.numerator
        sent_end = 9 * rate * frame_rate.denominator // frame_rate.numerator
        received = len(samples) + len(second)
        played = 8 if reported is None else reported
        expected = Interrupted(8, sent_end, played, begins, received - begins)
        assert await anext(events) == expected
        await conversation.resume(field="resume")
        await conversation.end()
        rest = [event async for event in events]
    assert rest[0] == Resumed(2, begins, received, 0)
    assert isinstance(rest[1], UtteranceBegan)
    alone = await said_alone(tmp_path, asked, samples[begins:], second)
    frames = [event for event in rest if isinstance(event, Frame)]
    check_resumed(frames, alone, 9, begins, 2)
    assert rest[-1] == UtteranceEnded(3, frames[-1].index, received)
    assert conversation.report.audio_samples == received


async def test_an_utterance_that_had_not_ended_goes_on_with_what_follows(tmp_path: Path) -> None:
    samples = speech(3 * RATE)
    async with converse(gateway(tmp_path), job(), KEEPING) as conversation:
        events = conversation.events()
        await say(conversation, samples[: 2 * RATE])
        await frames_of(events, 10)
        conversation.interrupt()
        assert isinstance(await anext(events), Interrupted)
        await conversation.resume(field="resume")
        await say(conversation, samples[2 * RATE :])
        await conversation.end()
        frames = [event async for event in events if isinstance(event, Frame)]
    alone = await said_alone(tmp_path, job(), samples[10 * FRAME :])
    check_resumed(frames, alone, 10, 10 * FRAME, 1)


async def test_an_interruption_is_undone_again_and_again(tmp_path: Path) -> None:
    samples = speech(2 * RATE)
    async with converse(gateway(tmp_path), job(), KEEPING) as conversation:
        events = conversation.events()
        await say(conversation, samples)
        await conversation.end_utterance()
        shown: list[Frame] = []
        for _ in range(5):
            shown += await frames_of(events, 4)
            conversation.played(shown[-1].index, field="played")
            conversation.interrupt()
            conversation.interrupt()
            await conversation.resume(field="resume")
        await conversation.end()
        shown += [event async for event in events if isinstance(event, Frame)]
    assert [frame.index for frame in shown] == list(range(50))
    assert [frame.audio_sample for frame in shown] == [n * FRAME for n in range(50)]
    assert [frame.utterance_id for frame in shown[::4][:6]] == list(range(6))


async def refused(conversation: Conversation, events: AsyncIterator[Event]) -> str:
    """Resumes, and returns why nothing is."""
    await conversation.resume(field="resume")
    while not isinstance(event := await anext(events), ResumeRefused):
        pass
    return event.reason


async def test_what_cannot_be_resumed_is_refused_by_name(tmp_path: Path) -> None:
    async with converse(gateway(tmp_path), job(), KEEPING) as conversation:
        events = conversation.events()
        assert await refused(conversation, events) == "NOTHING_INTERRUPTED"
        conversation.interrupt()
        assert await refused(conversation, events) == "NOTHING_INTERRUPTED"
        await say(conversation, speech(RATE))
        assert await refused(conversation, events) == "NEW_AUDIO"
        conversation.interrupt()
        await say(conversation, speech(RATE))
        assert await refused(conversation, events) == "NEW_AUDIO"
        conversation.interrupt()
        await conversation.resume(field="resume")
        assert await refused(conversation, events) == "NOTHING_INTERRUPTED"
        await conversation.end_utterance()
        # The first utterance began at 0, the second at a second.
        frames = await frames_of(events, 25)
        assert frames[0].audio_sample == RATE
        conversation.interrupt()
        assert await refused(conversation, events) == "NOTHING_INTERRUPTED"


async def test_after_new_audio_only_that_can_be_resumed(tmp_path: Path) -> None:
    async with converse(gateway(tmp_path), job(), KEEPING) as conversation:
        events = conversation.events()
        await say(conversation, speech(2 * RATE))
        await frames_of(events, 3)
        conversation.interrupt()
        await say(conversation, speech(RATE))
        conversation.interrupt()
        told = [await anext(events), await anext(events)]
    assert told == [
        Interrupted(2, 3 * FRAME, 2, 3 * FRAME, 2 * RATE - 3 * FRAME),
        Interrupted(2, 3 * FRAME, 2, 2 * RATE, RATE),
    ]


async def test_what_was_not_kept_is_told_and_has_to_be_sent_again(tmp_path: Path) -> None:
    limits = replace(LIMITS, resumable_s=1.0)
    samples = speech(3 * RATE)
    async with converse(gateway(tmp_path), job(), limits) as conversation:
        events = conversation.events()
        await say(conversation, samples)
        await frames_of(events, 5)
        conversation.interrupt()
        begins = 5 * FRAME
        assert await anext(events) == Interrupted(4, begins, 4, begins, RATE - begins)
        await conversation.resume(field="resume")
        await say(conversation, samples[RATE:])
        await conversation.end()
        rest = [event async for event in events]
    assert rest[0] == Resumed(1, begins, RATE, 2 * RATE)
    frames = [event for event in rest if isinstance(event, Frame)]
    alone = await said_alone(tmp_path, job(), samples[begins:RATE], samples[RATE:])
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(frames, alone, strict=True))
    assert frames[20].audio_sample == 3 * RATE


async def test_nothing_is_resumed_that_begins_before_what_is_kept(tmp_path: Path) -> None:
    limits = replace(LIMITS, resumable_s=1.0)
    async with converse(gateway(tmp_path), job(), limits) as conversation:
        events = conversation.events()
        await say(conversation, speech(3 * RATE))
        await frames_of(events, 30)
        conversation.interrupt()
        told = await anext(events)
        assert told == Interrupted(29, 30 * FRAME, 29, 30 * FRAME, 0)
        assert await refused(conversation, events) == "NOT_KEPT"
        await say(conversation, speech(RATE))
        conversation.interrupt()
        assert await anext(events) == Interrupted(29, 30 * FRAME, 29, 3 * RATE, RATE)


async def test_what_is_played_after_lost_audio_can_be_resumed(tmp_path: Path) -> None:
    limits = replace(LIMITS, resumable_s=1.0)
    async with converse(gateway(tmp_path), job(), limits) as conversation:
        events = conversation.events()
        await say(conversation, speech(2 * RATE))
        conversation.interrupt()
        await conversation.resume(field="resume")
        await frames_of(events, 25)
        await say(conversation, speech(RATE))
        conversation.interrupt()
        while (
            not isinstance(told := await anext(events), Interrupted) or told.next_audio_sample == 0
        ):
            pass
        assert told == Interrupted(24, RATE, 24, 2 * RATE, RATE)


async def test_utterances_in_any_number_can_be_resumed_or_are_not_kept(tmp_path: Path) -> None:
    async with converse(gateway(tmp_path), job(), KEEPING) as conversation:
        events = conversation.events()
        for _ in range(MAX_WAITING_UTTERANCES):
            await say(conversation, speech(1))
            await conversation.end_utterance()
        conversation.interrupt()
        told = await anext(events)
        assert told == Interrupted(-1, 0, -1, 0, MAX_WAITING_UTTERANCES)
        await conversation.resume(field="resume")
        await conversation.end()
        frames = [event async for event in events if isinstance(event, Frame)]
    assert [frame.audio_sample for frame in frames] == list(range(MAX_WAITING_UTTERANCES))


async def test_a_report_of_what_was_not_sent_is_refused(tmp_path: Path) -> None:
    async with converse(gateway(tmp_path), job(), KEEPING) as conversation:
        with pytest.raises(InvalidFieldError, match=r"played\.last_frame_index: is 0"):
            conversation.played(0, field="played")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    utterances=st.lists(st.integers(1, 9_000), min_size=1, max_size=5),
    taken=st.integers(1, 20),
    behind=st.integers(0, 20),
    bound_s=st.sampled_from([0.0, 0.1, 0.4, 10.0]),
    is_open=st.booleans(),
)
def test_any_interruption_leaves_what_was_not_played(
    tmp_path: Path,
    utterances: list[int],
    taken: int,
    behind: int,
    bound_s: float,
    is_open: bool,
) -> None:
    asyncio.run(_interrupted(tmp_path, utterances, taken, behind, bound_s, is_open=is_open))


async def _interrupted(
    folder: Path, utterances: list[int], taken: int, behind: int, bound_s: float, *, is_open: bool
) -> None:
    spoken = [speech(samples, seed=n) for n, samples in enumerate(utterances)]
    taken = min(taken, sum(-(-n // FRAME) for n in utterances[:-1]) or 1)
    limits = replace(LIMITS, resumable_s=bound_s)
    async with converse(gateway(folder), job(), limits) as conversation:
        events = conversation.events()
        for number, samples in enumerate(spoken):
            await say(conversation, samples)
            if number < len(spoken) - 1 or not is_open:
                await conversation.end_utterance()
        if len(utterances) == 1 and is_open:
            await conversation.end_utterance()
        shown = await frames_of(events, taken)
        last = max(0, taken - 1 - behind)
        conversation.played(last, field="played")
        conversation.interrupt()
        while not isinstance(told := await anext(events), Interrupted):
            pass
        await conversation.resume(field="resume")
        await conversation.end()
        rest = [event async for event in events]
    whole = np.concatenate(spoken)
    ends = min(shown[last].audio_sample + FRAME, _end_of(utterances, shown[last].audio_sample))
    assert told.resume_audio_sample == ends
    frames = [event for event in rest if isinstance(event, Frame)]
    answer = next(event for event in rest if isinstance(event, Resumed | ResumeRefused))
    if isinstance(answer, ResumeRefused):
        assert not frames
        assert told.resumable_samples == 0
        assert answer.reason == ("NOTHING_INTERRUPTED" if ends == len(whole) else "NOT_KEPT")
        return
    end = ends + told.resumable_samples
    assert answer == Resumed(len(utterances), ends, end, len(whole) - end)
    assert told.resumable_samples <= bound_s * RATE
    borders = np.cumsum([0, *utterances])
    left = [whole[max(a, ends) : min(b, end)] for a, b in pairwise(borders)]
    alone = await said_alone(folder, job(), *[samples for samples in left if len(samples)])
    check_resumed(frames, alone, taken, ends, len(utterances))


def _end_of(utterances: list[int], sample: int) -> int:
    """Returns where the utterance of a sample ends."""
    return next(int(end) for end in np.cumsum(utterances) if sample < end)


STEP = st.one_of(
    st.integers(1, 6_000),
    st.sampled_from(["pause", "interrupt", "resume", "played"]),
    st.sampled_from([0.0, 0.003]),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(STEP, max_size=30),
    engine_delay_s=st.sampled_from([0.0, 0.001]),
    bound_s=st.sampled_from([0.3, 10.0]),
)
def test_any_order_at_any_time_keeps_places_true(
    tmp_path: Path, steps: list[int | str | float], engine_delay_s: float, bound_s: float
) -> None:
    asyncio.run(_perform(tmp_path, steps, engine_delay_s, bound_s))


async def _perform(
    folder: Path, steps: list[int | str | float], engine_delay_s: float, bound_s: float
) -> None:
    engine = FakeEngine()
    engine.delay_s = engine_delay_s
    drawing = Gateway(Offer(small_windows(), manifest()), engine, tokenizer(folder))
    limits = replace(LIMITS, resumable_s=bound_s)
    async with converse(drawing, job(), limits) as conversation:
        told: list[Event] = []

        async def take() -> None:
            async for event in conversation.events():
                told.append(event)

        taking = asyncio.create_task(take())
        received = 0
        for step in steps:
            match step:
                case int():
                    await say(conversation, speech(step, seed=received))
                    received += step
                case float():
                    await asyncio.sleep(step)
                case "pause":
                    await conversation.end_utterance()
                case "interrupt":
                    conversation.interrupt()
                case "resume":
                    await conversation.resume(field="resume")
                case _:
                    shown = [event for event in told if isinstance(event, Frame)]
                    if shown:
                        conversation.played(shown[-1].index, field="played")
        await conversation.end()
        await taking
    _check_places(told, received)
    assert sum(isinstance(event, Resumed | ResumeRefused) for event in told) == steps.count(
        "resume"
    )


def _check_places(told: list[Event], received: int) -> None:
    """Sees that frames follow each other, and show what follows from what was told before."""
    expected, index, utterance = 0, 0, -1
    may_skip = has_lost = False
    for event in told:
        match event:
            case Interrupted():
                assert event.last_frame_index == index - 1
                assert event.resume_audio_sample + event.resumable_samples <= received
                may_skip = True
            case Resumed():
                assert event.first_audio_sample < event.end_audio_sample
                assert event.end_audio_sample + event.lost_samples <= received
                expected, has_lost = event.first_audio_sample, event.lost_samples > 0
                may_skip = has_lost
            case UtteranceBegan():
                assert (event.frame_index, event.utterance_id > utterance) == (index, True)
                assert event.audio_sample >= expected
                assert may_skip or event.audio_sample == expected
                utterance, expected, may_skip = event.utterance_id, event.audio_sample, has_lost
            case Frame():
                assert (event.index, event.utterance_id) == (index, utterance)
                assert event.audio_sample == expected
                expected, index = expected + FRAME, index + 1
            case UtteranceEnded():
                assert expected - FRAME < event.audio_sample <= expected
                expected = event.audio_sample
            case _:
                pass
