"""What windows take here, and the buffer that players are advised."""

from dataclasses import replace
from pathlib import Path

import pytest

from server.animation.defaults import VARIANT_DEFAULTS
from server.animation.stages import Stopwatch, Work
from server.animation.windows import WindowSpec
from server.recorder import SILENT
from server.sessions.conversation import converse
from server.sessions.events import Updated, UtteranceEnded
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from server.sessions.window_times import MAX_KINDS, REMEMBERED, Kind, WindowTimes
from tests.support.conversations import FRAME, LIMITS, job
from tests.support.fake_engine import FakeEngine
from tests.support.serving import SIZE, manifest, small_windows, speech, tokenizer

SPEC = WindowSpec(ladder=(9, 17, 33), overlap=5, audio_lookahead=5, audio_left_context=50)
SETTINGS = VARIANT_DEFAULTS["flash"]
KIND = Kind.of(SETTINGS, (512, 512))


def made(*works: tuple[int, float]) -> WindowTimes:
    times = WindowTimes()
    for frames, seconds in works:
        times.note(KIND, Work(frames, seconds, seconds))
    return times


@pytest.mark.parametrize("times", [made(), made((9, 0.2)), made((33, 0.9))])
def test_before_windows_were_made_playback_waits_for_their_speech(times: WindowTimes) -> None:
    assert times.advised_buffer_s(KIND, SPEC) == pytest.approx(24 / 25)
    assert times.advised_buffer_s(KIND, replace(SPEC, ladder=(17,))) == 0


def test_playback_waits_for_what_longer_windows_take_longer() -> None:
    times = made((9, 0.2), (17, 5.0), (33, 0.9))
    assert times.advised_buffer_s(KIND, SPEC) == pytest.approx(24 / 25 + 0.7)


def test_one_slow_window_changes_no_advice() -> None:
    times = made((9, 0.2), (33, 0.9), (33, 60.0), (33, 0.9))
    assert times.advised_buffer_s(KIND, SPEC) == pytest.approx(24 / 25 + 0.7)


def test_advice_follows_the_machine() -> None:
    times = made((9, 0.2), *[(33, 0.9)] * REMEMBERED, *[(33, 1.9)] * REMEMBERED)
    assert times.advised_buffer_s(KIND, SPEC) == pytest.approx(24 / 25 + 1.7)


def test_a_quicker_long_window_never_shortens_the_wait_for_speech() -> None:
    assert made((9, 0.9), (33, 0.2)).advised_buffer_s(KIND, SPEC) == pytest.approx(24 / 25)


@pytest.mark.parametrize(
    "other",
    [
        Kind.of(SETTINGS, (256, 256)),
        Kind.of(replace(SETTINGS, steps=4), (512, 512)),
        Kind.of(replace(SETTINGS, audio_guidance=1.0), (512, 512)),
        Kind.of(replace(SETTINGS, guidance_skip_ratio=0.5), (512, 512)),
    ],
)
def test_what_takes_another_time_is_another_kind(other: Kind) -> None:
    assert made((9, 0.2), (33, 0.9)).advised_buffer_s(other, SPEC) == pytest.approx(24 / 25)


def test_prompts_seeds_and_strengths_take_the_same_time() -> None:
    other = replace(SETTINGS, prompt="a portrait", seed=1, audio_guidance=3.0)
    assert Kind.of(other, (512, 512)) == KIND


def test_kinds_that_clients_make_up_are_forgotten() -> None:
    times = made((9, 0.2), (33, 0.9))
    for number in range(MAX_KINDS):
        times.note(KIND._replace(skip_ratio=number / MAX_KINDS), Work(9, 0.2, 0.2))
    assert times.advised_buffer_s(KIND, SPEC) == pytest.approx(24 / 25)


def test_work_begins_when_the_audio_is_there() -> None:
    times = iter([0.0, 0.0, 0.5, 1.0, 9.0, 9.5, 11.0])
    stopwatch = Stopwatch(SILENT, lambda: next(times))
    for stage in ("audio", "condition", "audio", "features", "denoise"):
        stopwatch.begin(stage)
    assert stopwatch.finish(17) == Work(17, 2.0, 2.5)


class Noted(WindowTimes):
    """Remembers what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[int, int]] = []

    def note(self, kind: Kind, work: Work) -> None:
        assert work.seconds > 0
        assert kind.size == (SIZE, SIZE)
        self.noted.append((kind.steps, work.frames))


async def test_conversations_tell_what_each_window_took_by_the_settings_it_was_made_with(
    tmp_path: Path,
) -> None:
    gateway = Gateway(Offer(small_windows(), manifest()), FakeEngine(), tokenizer(tmp_path))
    noted = gateway.window_times = Noted()
    async with converse(gateway, job(), LIMITS) as conversation:
        await conversation.push_audio(speech(8 * FRAME).tobytes(), field="audio")
        await conversation.end_utterance()
        async for event in conversation.events():
            if isinstance(event, UtteranceEnded) and event.utterance_id == 0:
                conversation.update("", {"steps": 2}, field="update")
            if isinstance(event, Updated):
                await conversation.push_audio(speech(3 * FRAME).tobytes(), field="audio")
                await conversation.end()
    assert noted.noted[0] == (SETTINGS.steps, 5)
    assert noted.noted[-1] == (2, 5)
