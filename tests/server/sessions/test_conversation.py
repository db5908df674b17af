"""A conversation in plain Python: no gRPC, no protobuf, a fake engine."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.audio.clock import Clock
from server.audio.pcm import AudioFormat
from server.errors import EngineUnavailableError, InvalidFieldError, LimitError
from server.pictures.portrait import cropped, decode_portrait
from server.sessions.announcing import NEVER, Announcer
from server.sessions.conversation import Conversation, converse
from server.sessions.events import (
    Event,
    Frame,
    Interrupted,
    Notice,
    Pong,
    UtteranceBegan,
    UtteranceEnded,
)
from server.sessions.gateway import Gateway
from server.sessions.hearing import MAX_WAITING_UTTERANCES
from server.sessions.jobs import Offer
from server.sessions.outbox import MAX_UNREAD_ANSWERS, Outbox
from server.sessions.pacer import AT_ONCE, Pacer
from server.sessions.playback import Playback
from server.sessions.report import Report
from server.sessions.resumption import Resumable
from server.sessions.retiming import Retiming
from server.sessions.speech import AudioLimits
from tests.support.conversations import FRAME, LIMITS, RATE, job
from tests.support.fake_engine import FakeEngine
from tests.support.pipeline_reference import Recorder
from tests.support.serving import (
    SIZE,
    manifest,
    portrait,
    small_windows,
    speech,
    tokenizer,
    until,
)


def gateway(engine: FakeEngine, folder: Path) -> Gateway:
    return Gateway(Offer(small_windows(), manifest()), engine, tokenizer(folder))


async def say(conversation: Conversation, samples: int, seed: int = 0) -> None:
    await conversation.push_audio(speech(samples, seed=seed).tobytes(), field="audio")


async def test_an_interruption_at_another_rate_tells_the_frame_and_its_sample(
    tmp_path: Path,
) -> None:
    retiming = Retiming(Fraction(15))
    form = replace(job().video_format, retiming=retiming)
    opened = job(video_format=form, continues=True)
    async with converse(gateway(FakeEngine(), tmp_path), opened, LIMITS) as conversation:
        events = conversation.events()
        await say(conversation, 60 * FRAME)
        shown: list[Frame] = []
        while len(shown) < 4:
            event = await anext(events)
            if isinstance(event, Frame):
                shown.append(event)
        conversation.interrupt()
        assert await anext(events) == Interrupted(3, 4 * RATE // 15, 3, 4 * RATE // 15, 0)
        await say(conversation, RATE)
        await conversation.end()
        rest = [event async for event in events]
    frames = [event for event in rest if isinstance(event, Frame)]
    assert [frame.index for frame in frames] == list(range(4, 4 + 15))
    begins = 60 * FRAME
    samples = [frame.audio_sample for frame in frames]
    assert samples == [begins + n * RATE // 15 for n in range(15)]
    assert rest[-1] == UtteranceEnded(1, 18, begins + RATE)


async def test_speech_in_events_out_and_one_report(tmp_path: Path) -> None:
    async with converse(gateway(FakeEngine(), tmp_path), job(), LIMITS) as conversation:
        await say(conversation, 2 * FRAME)
        await conversation.end_utterance()
        await say(conversation, FRAME)
        await conversation.end()
        events = [event async for event in conversation.events()]
    kinds = [type(event) for event in events]
    assert kinds == [
        *(UtteranceBegan, Frame, Frame, UtteranceEnded),
        *(UtteranceBegan, Frame, UtteranceEnded),
    ]
    frames = [event for event in events if isinstance(event, Frame)]
    assert [(f.index, f.utterance_id, f.audio_sample) for f in frames] == [
        *((0, 0, 0), (1, 0, FRAME)),
        (2, 1, 2 * FRAME),
    ]
    assert frames[0].picture.shape == (SIZE, SIZE, 3)
    assert conversation.report.audio_samples == 3 * FRAME


async def test_what_needs_no_speech_is_encoded_before_it_comes(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with converse(gateway(engine, tmp_path), job(), LIMITS) as conversation:
        await until(lambda: len(engine.executions) == 3)
        # Side by side, so in any order.
        assert set(engine.executions) == {"image_encoder", "text_encoder", "vae_encoder"}
        # Of 5 frames and 2 ahead, so that the next window lacks audio.
        await say(conversation, 7 * FRAME)
        await until(lambda: engine.executions.count("vae_encoder") == 2)
        assert engine.executions[3] == "audio_encoder"
        assert engine.executions[-2:] == ["vae_decoder", "vae_encoder"]


@pytest.mark.parametrize(
    ("frames", "windows"),
    [(1, [9]), (9, [9]), (10, [9, 17]), (24, [9, 17]), (25, [9, 21]), (41, [9, 33, 17])],
)
async def test_the_last_window_is_no_longer_than_needed(
    tmp_path: Path, frames: int, windows: list[int]
) -> None:
    engine = Recorder(FakeEngine())
    settings = small_windows(window_ladder=(9, 33))
    animator = Gateway(Offer(settings, manifest()), engine, tokenizer(tmp_path))
    async with converse(animator, job(), LIMITS) as conversation:
        await say(conversation, frames * FRAME)
        await conversation.end()
        shown = [event async for event in conversation.events() if isinstance(event, Frame)]
    assert len(shown) == frames
    assert [len(video[0]) for video in engine.made("vae_decoder", "frames")] == windows


async def test_what_is_wrong_with_the_audio_is_told_once_an_utterance(tmp_path: Path) -> None:
    loud = np.full(3 * RATE, 32767, "<i2").tobytes()
    opposite = np.resize(np.array([9_000, -9_000], "<i2"), 2 * 3 * RATE).tobytes()
    for audio, channels, reason in [(loud, 1, "CLIPPED"), (opposite, 2, "OPPOSITE_PHASE")]:
        asked = job(audio_format=AudioFormat("s16le", RATE, channels))
        async with converse(gateway(FakeEngine(), tmp_path), asked, LIMITS) as conversation:
            for _ in range(2):
                await conversation.push_audio(audio, field="audio")
                await conversation.end_utterance()
            await conversation.end()
            events = [event async for event in conversation.events()]
        notices = [event.reason for event in events if isinstance(event, Notice)]
        assert notices == [f"AUDIO_{reason}"] * 2


async def test_a_file_in_place_of_pcm_is_refused(tmp_path: Path) -> None:
    async with converse(gateway(FakeEngine(), tmp_path), job(), LIMITS) as conversation:
        with pytest.raises(InvalidFieldError, match="audio: holds a FLAC file, not PCM"):
            await conversation.push_audio(b"fLaC\0\0\0\x22", field="audio")


async def test_an_interruption_frees_what_was_dropped_even_before_its_first_step(
    tmp_path: Path,
) -> None:
    engine = FakeEngine()
    engine.delay_s = 10
    limits = AudioLimits(max_audio_s=600, limit="max_stream_audio", max_buffered_s=2)
    async with converse(gateway(engine, tmp_path), job(), limits) as conversation:
        for _ in range(5):
            # No await lets the drawing of it begin; then one does.
            await say(conversation, 2 * RATE)
            conversation.interrupt()
            await say(conversation, 2 * RATE)
            await asyncio.sleep(0)
            conversation.interrupt()
            await say(conversation, RATE)
            await conversation.end_utterance()
            await say(conversation, RATE)
            await asyncio.sleep(0.01)
            conversation.interrupt()
        with pytest.raises(LimitError, match="max_buffered_audio"):
            await say(conversation, 2 * RATE + 1)


async def test_what_windows_are_told_is_held_to_the_portrait(tmp_path: Path) -> None:
    async def told(levels: float) -> np.ndarray:
        engine = Recorder(FakeEngine())
        settings = small_windows(drift_levels=levels)
        animator = Gateway(Offer(settings, manifest()), engine, tokenizer(tmp_path))
        async with converse(animator, job(), LIMITS) as conversation:
            await say(conversation, 8 * FRAME)
            await conversation.end()
            async for _ in conversation.events():
                pass
        (known,) = (k for k in engine.given("vae_encoder", "known") if k.shape[1] > 1)
        return known[0].astype(int)

    whole = decode_portrait(portrait(), max_pixels=512**2, field="portrait")
    shown = cropped(whole, SIZE, SIZE)[0].astype(int)
    drifted, held = await told(0), await told(255)
    assert np.abs(held - shown).mean() < np.abs(drifted - shown).mean() - 20


async def test_after_an_interruption_speech_continues_from_what_was_taken(tmp_path: Path) -> None:
    async def begins(taken: int) -> tuple[np.ndarray, np.ndarray]:
        engine = FakeEngine()
        known: list[np.ndarray] = []
        run = engine.run

        async def recording(network: Any, inputs: Any, *args: Any, **more: Any) -> Any:
            if network.name == "vae_encoder":
                known.append(np.array(inputs["known"]))
            return await run(network, inputs, *args, **more)

        engine.run = recording  # pyright: ignore[reportAttributeAccessIssue]
        wanted = job(continues=True)
        async with converse(gateway(engine, tmp_path), wanted, LIMITS) as conversation:
            await say(conversation, 20 * FRAME)
            await conversation.end_utterance()
            events = conversation.events()
            frames = [event async for event in _first_frames(events, taken)]
            # Everything is drawn by now, further than what was taken.
            await asyncio.sleep(0.1)
            conversation.interrupt()
            known.clear()
            await say(conversation, FRAME)
            await conversation.end()
            async for _ in events:
                pass
        return known[0], frames[-1].picture

    first_known, last_taken = await begins(3)
    assert np.array_equal(first_known[0, 0], last_taken)


async def _first_frames(events: AsyncIterator[Event], count: int) -> AsyncIterator[Frame]:
    while count:
        event = await anext(events)
        if isinstance(event, Frame):
            count -= 1
            yield event


async def test_a_failure_ends_the_conversation_as_itself(tmp_path: Path) -> None:
    engine = FakeEngine()

    async def talk() -> None:
        async with converse(gateway(engine, tmp_path), job(), LIMITS) as conversation:
            engine.error = EngineUnavailableError("denoiser", "no Triton can be reached")
            await say(conversation, FRAME)
            await conversation.end()
            async for _ in conversation.events():
                pass

    with pytest.raises(EngineUnavailableError):
        await talk()


async def test_a_bad_portrait_opens_no_conversation(tmp_path: Path) -> None:
    with pytest.raises(InvalidFieldError):
        async with converse(gateway(FakeEngine(), tmp_path), job(portrait=b"x"), LIMITS):
            pass


async def test_more_utterances_than_may_wait_are_refused(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.delay_s = 10

    async def talk() -> None:
        async with converse(gateway(engine, tmp_path), job(), LIMITS) as conversation:
            for _ in range(MAX_WAITING_UTTERANCES + 2):
                await say(conversation, 1)
                await conversation.end_utterance()

    with pytest.raises(LimitError, match="max_waiting_utterances"):
        await talk()


async def test_a_conversation_works_while_it_draws_and_not_while_it_waits_for_speech(
    tmp_path: Path,
) -> None:
    engine = FakeEngine()
    async with converse(gateway(engine, tmp_path), job(), LIMITS) as conversation:
        await asyncio.sleep(0.02)
        assert not conversation.is_working
        # Too little for a window: it is the client's turn.
        await say(conversation, FRAME)
        await asyncio.sleep(0.1)
        assert not conversation.is_working
        engine.delay_s = 10
        await conversation.end_utterance()
        await asyncio.sleep(0.02)
        assert conversation.is_working
        conversation.interrupt()
        await asyncio.sleep(0.02)
        # The answer waits to be taken.
        assert conversation.is_working
        assert await anext(conversation.events()) == Interrupted(-1, 0, -1, 0, 0)
        assert not conversation.is_working


async def test_notices_survive_an_interruption_and_answers_are_bounded() -> None:
    report = Report(RATE, time.monotonic)
    pacer = Pacer(AT_ONCE, report, lambda: False)
    outbox = Outbox(4, pacer, Playback(Clock(RATE)), Announcer(NEVER, report))
    outbox.answer(Notice("A", "a"))
    outbox.interrupt(Resumable(0, 0))
    outbox.end()
    events: list[Event] = [event async for event in outbox.events()]
    assert events == [Notice("A", "a"), Interrupted(-1, 0, -1, 0, 0)]
    for _ in range(MAX_UNREAD_ANSWERS):
        outbox.interrupt(Resumable(0, 0))
    with pytest.raises(LimitError, match="max_unread_answers"):
        outbox.interrupt(Resumable(0, 0))
    with pytest.raises(LimitError, match="max_unread_answers"):
        outbox.pong(Pong("one more"))


async def test_an_utterance_whose_audio_was_refused_neither_begins_nor_ends(tmp_path: Path) -> None:
    gateway = Gateway(Offer(small_windows(), manifest()), FakeEngine(), tokenizer(tmp_path))
    limits = replace(LIMITS, max_audio_s=0.1)
    async with converse(gateway, job(), limits) as conversation:
        await say(conversation, FRAME)
        await conversation.end_utterance()
        with pytest.raises(LimitError, match="max_stream_audio"):
            await say(conversation, 10 * FRAME)
        await conversation.end()
        told = [event async for event in conversation.events()]
    ids = [
        (type(event).__name__, event.utterance_id)
        for event in told
        if isinstance(event, (UtteranceBegan, UtteranceEnded))
    ]
    assert ids == [("UtteranceBegan", 0), ("UtteranceEnded", 0)]
