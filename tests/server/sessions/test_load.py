"""What streams take of the engines, and who is let in by it."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from server.animation.defaults import VARIANT_DEFAULTS
from server.errors import CapacityError
from server.sessions.conversation import converse
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from server.sessions.load import Load
from server.sessions.window_times import MAX_KINDS, REMEMBERED, Kind
from server.triton.usage import SharedTime
from tests.support import virtual_time
from tests.support.conversations import FRAME, LIMITS, job
from tests.support.fake_engine import FakeEngine
from tests.support.serving import SIZE, manifest, small_windows, speech, tokenizer

SETTINGS = VARIANT_DEFAULTS["flash"]
KIND = Kind.of(SETTINGS, (512, 512))
HALF = Kind.of(replace(SETTINGS, steps=SETTINGS.steps // 2), (512, 512))


def measured(max_load: float = 0.0, engines: int = 1) -> Load:
    """A load of which is known that a second of frames takes 0.4 s."""
    load = Load(max_load, lambda: engines)
    load.note(KIND, 0.4)
    return load


def test_the_share_is_that_of_the_last_windows_whatever_one_of_them_took() -> None:
    load = measured()
    load.note(KIND, 0.4)
    load.note(KIND, 30)
    assert load.share(KIND) == pytest.approx(0.4)
    for _ in range(REMEMBERED):
        load.note(KIND, 0.2)
    assert load.share(KIND) == pytest.approx(0.2)


def test_what_was_never_made_is_estimated_by_its_work() -> None:
    load = measured()
    assert load.share(HALF) == pytest.approx(0.2)
    assert load.share(Kind.of(SETTINGS, (256, 256))) == pytest.approx(0.1)
    assert load.share(Kind.of(replace(SETTINGS, audio_guidance=1.0), (512, 512))) < 0.4


def test_kinds_that_clients_make_up_are_forgotten() -> None:
    load = measured()
    for number in range(MAX_KINDS):
        load.note(KIND._replace(skip_ratio=(number + 1) / MAX_KINDS), 9)
    assert load.share(KIND) == pytest.approx(9)


def test_streams_are_let_in_as_long_as_the_engines_can_keep_up_with_all() -> None:
    load = measured(max_load=1.0)
    with load.stream(KIND), load.stream(KIND):
        assert load.taken == pytest.approx(0.8)
        with pytest.raises(CapacityError) as refused, load.stream(KIND):
            pass
        assert refused.value.limit == "max_load"
        assert refused.value.problem == (
            "what runs (2) takes 0.80 of what the engines can do, this would take 0.40, and 1 is "
            "allowed"
        )
        with load.stream(HALF):
            assert load.taken == pytest.approx(1.0)
    assert load.taken == 0
    with load.stream(KIND):
        pass


def test_two_engines_have_room_for_twice_as_much() -> None:
    load = measured(max_load=1.0, engines=2)
    with load.stream(KIND), load.stream(KIND), load.stream(KIND), load.stream(KIND):
        assert load.taken == pytest.approx(0.8)
        with load.stream(KIND), pytest.raises(CapacityError), load.stream(HALF):
            pass


def test_a_stream_that_changes_its_settings_counts_by_the_new_ones() -> None:
    load = measured(max_load=1.0)
    with load.stream(KIND) as seat:
        seat.kind = HALF
        assert load.taken == pytest.approx(0.2)


def test_the_first_stream_is_let_in_and_all_are_where_nothing_is_measured_or_limited() -> None:
    slow = measured(max_load=0.1)
    with slow.stream(KIND), pytest.raises(CapacityError), slow.stream(KIND):
        pass
    for load in (Load(0.1, lambda: 1), measured(max_load=0)):
        with load.stream(KIND), load.stream(KIND), load.stream(KIND), load.stream(KIND):
            pass


async def test_conversations_tell_what_windows_took_and_are_let_in_by_it(tmp_path: Path) -> None:
    engine = FakeEngine()
    settings = small_windows().model_copy(update={"max_load": 0.01})
    gateway = Gateway(Offer(settings, manifest()), engine, tokenizer(tmp_path))
    engine.delay_s = 0.01
    async with converse(gateway, job(), LIMITS) as conversation:
        await conversation.push_audio(speech(8 * FRAME).tobytes(), field="audio")
        await conversation.end()
        async for _ in conversation.events():
            pass
        assert gateway.load.taken == gateway.load.share(Kind.of(SETTINGS, (SIZE, SIZE))) > 0.01
        before = len(engine.executions)
        with pytest.raises(CapacityError, match="max_load"):
            async with converse(gateway, job(), LIMITS):
                pass
        assert len(engine.executions) == before
    async with converse(gateway, job(), LIMITS):
        pass


def test_every_utterance_counts_as_the_first_and_one_of_a_sample_as_a_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []

    class Noted(Load):
        def note(self, kind: Kind, share: float) -> None:
            shares.append(share)
            super().note(kind, share)

    async def main() -> None:
        now = asyncio.get_running_loop().time
        monkeypatch.setattr("server.sessions.gateway.Load", Noted)
        shared = partial(SharedTime, now=now)
        monkeypatch.setattr("server.sessions.gateway.SharedTime", shared)
        engine = FakeEngine()
        engine.delay_s = 0.01
        gateway = Gateway(Offer(small_windows(), manifest()), engine, tokenizer(tmp_path))
        async with converse(gateway, job(), LIMITS, now) as conversation:
            for samples in (8 * FRAME, 8 * FRAME, 8 * FRAME, 1):
                await conversation.push_audio(speech(samples).tobytes(), field="audio")
                await conversation.end_utterance()
            await conversation.end()
            async for _ in conversation.events():
                pass

    virtual_time.run(main())
    windows = len(shares) // 3
    assert len(shares) == 3 * windows + 1
    assert windows > 1
    assert shares == pytest.approx([*3 * shares[:windows], shares[0]])
    assert shares[0] > 0
