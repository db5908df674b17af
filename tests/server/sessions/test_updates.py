"""Changes of settings while a conversation goes on: no gRPC, no protobuf, a fake engine."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.animation.defaults import SETTINGS, VARIANT_DEFAULTS, GenerationSettings
from server.animation.teacache import TeaCache
from server.errors import EngineUnavailableError, InvalidFieldError, LimitError
from server.sessions.conversation import Conversation, converse
from server.sessions.events import (
    Event,
    Frame,
    Interrupted,
    Updated,
    UpdateRefused,
    UtteranceBegan,
)
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from server.sessions.outbox import MAX_UNREAD_ANSWERS
from server.sessions.updates import MAX_WAITING_UPDATES, Update, Updates
from server.triton.contract import Variant
from server.triton.engine import Priority
from tests.support.conversations import FRAME, LIMITS, job
from tests.support.gated_engine import GatedEngine
from tests.support.pipeline_reference import Recorder
from tests.support.serving import manifest, small_windows, speech, tokenizer, until

FLASH = replace(VARIANT_DEFAULTS["flash"], steps=2)


@dataclass
class Talk:
    """A conversation, what its engine was given, and its events one by one."""

    conversation: Conversation
    gated: GatedEngine
    recorder: Recorder
    events: AsyncIterator[Event]
    said: int = 0

    async def say(self, frames: int) -> None:
        """Says what comes next of one long speech."""
        samples = speech(100 * FRAME)[self.said * FRAME :][: frames * FRAME]
        self.said += frames
        await self.conversation.push_audio(samples.tobytes(), field="audio")

    def update(self, update_id: str = "", **stated: Any) -> None:
        self.conversation.update(update_id, stated, field="update")

    async def frames(self, count: int) -> list[np.ndarray]:
        """The next frames; nothing else but the beginnings of utterances may come before them."""
        pictures: list[np.ndarray] = []
        while len(pictures) < count:
            event = await anext(self.events)
            assert isinstance(event, Frame | UtteranceBegan)
            if isinstance(event, Frame):
                pictures.append(event.picture)
        return pictures

    async def answer(self) -> Updated | UpdateRefused:
        """What comes next, which is an answer to an update."""
        event = await anext(self.events)
        assert isinstance(event, Updated | UpdateRefused)
        return event

    async def rest(self) -> list[Event]:
        await self.conversation.end()
        return [event async for event in self.events]

    def texts(self) -> list[float]:
        """What tells the prompt that each window was made with."""
        texts = [float("nan")]
        for network, arrays in self.recorder.inputs:
            if network == "denoiser":
                texts[-1] = float(arrays["text"][-1].mean())
            if network == "vae_decoder":
                texts.append(float("nan"))
        return texts[:-1]


@asynccontextmanager
async def talk(folder: Path, variant: Variant = "flash", **changes: Any) -> AsyncIterator[Talk]:
    gated = GatedEngine()
    recorder = Recorder(gated)
    offer = Offer(small_windows(), manifest(variant))
    gateway = Gateway(offer, recorder, tokenizer(folder))
    asked = replace(job(), generation=replace(offer.generation, **changes))
    async with converse(gateway, asked, LIMITS) as conversation:
        yield Talk(conversation, gated, recorder, conversation.events())


def pictures(events: Sequence[Event]) -> list[np.ndarray]:
    return [event.picture for event in events if isinstance(event, Frame)]


async def drawn(folder: Path, frames: int, **changes: Any) -> list[np.ndarray]:
    """The frames of an utterance to which nothing happens."""
    async with talk(folder, **changes) as told:
        await told.say(frames)
        return pictures(await told.rest())


def same(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> list[bool]:
    return [np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)]


async def test_an_update_before_audio_is_as_if_the_conversation_had_begun_with_it(
    tmp_path: Path,
) -> None:
    changes = {"steps": 3, "prompt": "portrait", "sampler": "flow_euler", "shift": 3.0}
    async with talk(tmp_path) as told:
        told.update("first", **changes)
        await told.say(20)
        events = await told.rest()
    assert events[0] == Updated("first", replace(FLASH, **changes), 0, 0, 0)
    assert all(same(pictures(events), await drawn(tmp_path, 20, **changes)))


async def test_windows_that_have_not_begun_are_made_with_an_update(tmp_path: Path) -> None:
    async with talk(tmp_path) as told:
        # The first window is 5 frames and waits for 2 more; its last 2 are held back.
        await told.say(7)
        before = await told.frames(3)
        told.update("more", steps=4, audio_guidance=20.0)
        settings = replace(FLASH, steps=4, audio_guidance=20.0)
        assert await told.answer() == Updated("more", settings, 0, 1, 3)
        await told.say(20)
        after = pictures(await told.rest())
        latents = told.recorder.given("denoiser", "latents")
    # 2 steps, then 4 in each of 4 windows.
    assert len(latents) == 2 + 4 * 4
    kept = same([*before, *after], await drawn(tmp_path, 27))
    # The fade begins with all of the window before.
    assert all(kept[:4])
    assert not all(kept[4:])


async def test_the_noise_goes_on_without_a_break(tmp_path: Path) -> None:
    async def begins(*, changes: bool) -> list[np.ndarray]:
        """What each window's latents begin with."""
        async with talk(tmp_path) as told:
            await told.say(7)
            await told.frames(3)
            if changes:
                told.update(steps=3, shift=2.0)
                assert isinstance(await told.answer(), Updated)
            await told.say(20)
            await told.rest()
            latents = told.recorder.given("denoiser", "latents")
            later = 3 if changes else 2
            return [latents[0], *latents[2::later]]

    ours, theirs = await begins(changes=True), await begins(changes=False)
    assert len(ours) == 5
    assert all(same(ours, theirs))


async def test_an_update_that_changes_nothing_leaves_every_byte_as_it_is(tmp_path: Path) -> None:
    async with talk(tmp_path) as told:
        await told.say(7)
        before = await told.frames(3)
        told.update("none")
        assert await told.answer() == Updated("none", FLASH, 0, 1, 3)
        told.update("same", seed=FLASH.seed, steps=2, prompt=FLASH.prompt)
        assert await told.answer() == Updated("same", FLASH, 0, 1, 3)
        await told.say(20)
        after = pictures(await told.rest())
    assert all(same([*before, *after], await drawn(tmp_path, 27)))


async def test_windows_inside_an_utterance_go_on_while_a_prompt_is_encoded(
    tmp_path: Path,
) -> None:
    async with talk(tmp_path) as told:
        await told.gated.close_gate("text_encoder")
        await told.say(7)
        await told.frames(3)
        told.update("slow", prompt="portrait")
        await told.say(7)
        await told.frames(7)
        told.gated.open_gate("text_encoder")
        updated = await told.answer()
        await told.say(7)
        await told.rest()
        old, again, *new = told.texts()
    assert updated == Updated("slow", replace(FLASH, prompt="portrait"), 0, 2, 10)
    assert old == again
    assert new
    assert all(text == new[0] != old for text in new)


async def test_the_first_window_of_an_utterance_waits_for_the_updates_before_it(
    tmp_path: Path,
) -> None:
    async with talk(tmp_path) as told:
        await told.gated.close_gate("text_encoder")
        told.update("slow", prompt="portrait")
        told.update("quick", steps=1)
        await told.say(3)
        await told.conversation.end_utterance()
        assert told.conversation.is_working
        told.gated.open_gate("text_encoder")
        slow, quick = await told.answer(), await told.answer()
        await told.frames(3)
    assert [slow.update_id, quick.update_id] == ["slow", "quick"]
    assert isinstance(quick, Updated)
    assert quick.generation == replace(FLASH, prompt="portrait", steps=1)


async def test_updates_wait_in_line_up_to_a_limit(tmp_path: Path) -> None:
    async with talk(tmp_path) as told:
        await told.gated.close_gate("text_encoder")
        for number in range(MAX_WAITING_UPDATES):
            told.update(str(number), prompt=f"portrait {number}")
        told.update("one too many", steps=1)
        refused = await told.answer()
        assert isinstance(refused, UpdateRefused)
        assert (refused.update_id, type(refused.error)) == ("one too many", LimitError)
        assert "max_waiting_updates" in str(refused.error)
        told.gated.open_gate("text_encoder")
        answers = [await told.answer() for _ in range(MAX_WAITING_UPDATES)]
        told.update("there is room again", steps=1)
        assert isinstance(await told.answer(), Updated)
    assert [answer.update_id for answer in answers] == [str(n) for n in range(MAX_WAITING_UPDATES)]
    assert all(isinstance(answer, Updated) for answer in answers)


async def test_a_failing_encoder_refuses_the_update_and_speech_goes_on(tmp_path: Path) -> None:
    async with talk(tmp_path) as told:
        await told.say(7)
        before = await told.frames(3)
        gone = EngineUnavailableError("text_encoder", "gone")
        told.gated.errors["text_encoder"] = gone
        told.update("lost", prompt="portrait", steps=5)
        assert await told.answer() == UpdateRefused("lost", gone)
        await told.say(20)
        after = pictures(await told.rest())
    assert all(same([*before, *after], await drawn(tmp_path, 27)))


async def test_an_error_that_nobody_foresaw_ends_the_conversation(tmp_path: Path) -> None:
    async def fail() -> None:
        async with talk(tmp_path) as told:
            await told.say(7)
            await told.frames(3)
            told.gated.errors["text_encoder"] = RuntimeError("bug")
            told.update(prompt="portrait")
            await told.answer()

    with pytest.raises(RuntimeError, match="bug"):
        await fail()


BAD = {
    "seed": {"seed": 44},
    "steps": {"steps": 0},
    "audio_guidance": {"audio_guidance": math.nan},
    "shift": {"shift": math.inf},
    "text_guidance": {"text_guidance": 2.0},
    "sampler": {"sampler": None},
    "prompt": {"prompt": "x" * 3000},
    "teacache.threshold": {"teacache": {"threshold": 11.0}},
    "teacache.warm_up": {"teacache": {"warm_up": 3}},
    "teacache.off": {"teacache": {"off": True, "threshold": 1.0}},
}


@pytest.mark.parametrize("field", BAD)
async def test_what_cannot_be_is_refused_by_name_and_nothing_changes(
    tmp_path: Path, field: str
) -> None:
    async with talk(tmp_path) as told:
        told.update("bad", **{"guidance_skip_ratio": 0.5, **BAD[field]})
        refused = await told.answer()
        assert isinstance(refused, UpdateRefused)
        assert isinstance(refused.error, InvalidFieldError)
        assert refused.error.field == f"update.generation.{field}"
        told.update("what holds?")
        assert await told.answer() == Updated("what holds?", FLASH, 0, 0, 0)


def test_the_seed_alone_is_fixed() -> None:
    assert [name for name, setting in SETTINGS.items() if setting.fixed] == ["seed"]


async def test_an_id_that_is_too_long_is_refused_without_it(tmp_path: Path) -> None:
    async with talk(tmp_path) as told:
        told.update("ä" * 65, steps=1)
        refused = await told.answer()
        told.update("ä" * 64, steps=1)
        assert (await told.answer()).update_id == "ä" * 64
    assert isinstance(refused, UpdateRefused)
    assert (refused.update_id, str(refused.error)) == (
        "",
        "update.update_id: is longer than 128 bytes",
    )


async def test_teacache_changes_bit_by_bit_and_is_planned_again(tmp_path: Path) -> None:
    cache = TeaCache(threshold=9.0, warm_up=3)
    async with talk(tmp_path, steps=6, teacache=cache) as told:

        async def in_force(**stated: Any) -> TeaCache | None:
            told.update(**stated)
            answer = await told.answer()
            assert isinstance(answer, Updated)
            return answer.generation.teacache

        assert await in_force(teacache={"threshold": 10.0}) == replace(cache, threshold=10.0)
        assert await in_force(steps=2) == TeaCache(threshold=10.0, warm_up=2)
        assert await in_force(steps=4, teacache={"warm_up": 1}) == TeaCache("per_branch", 10.0, 1)
        await told.say(7)
        await told.frames(3)
        assert len(told.recorder.given("denoiser", "latents")) == 1
        assert len(told.recorder.given("denoiser_cached", "latents")) == 3
        assert await in_force(teacache={"off": True}) is None
        await told.say(7)
        await told.frames(7)
        assert len(told.recorder.given("denoiser", "latents")) == 1 + 4
        assert len(told.recorder.given("denoiser_cached", "latents")) == 3


async def test_text_guidance_brings_the_negative_prompt_and_takes_it_away(tmp_path: Path) -> None:
    async with talk(tmp_path, "preview", text_guidance=1.0, audio_guidance=1.0) as told:
        await told.say(7)
        await told.frames(3)
        told.update(text_guidance=3.0, negative_prompt="portrait", audio_scale=0.5)
        assert isinstance(await told.answer(), Updated)
        await told.say(7)
        await told.frames(7)
        told.update(text_guidance=1.0)
        assert isinstance(await told.answer(), Updated)
        await told.say(7)
        await told.frames(7)
        rows = [gain.shape[1] for gain in told.recorder.given("denoiser", "audio_gain")]
        scales = [float(scale[0, 0]) for scale in told.recorder.given("denoiser", "audio_scale")]
    assert rows == [1, 1, 3, 3, 1, 1]
    assert scales == [1, 1, 0.5, 0.5, 0.5, 0.5]


async def test_between_utterances_the_next_one_is_told(tmp_path: Path) -> None:
    async with talk(tmp_path) as told:
        await told.say(2)
        await told.conversation.end_utterance()
        await told.frames(2)
        await anext(told.events)
        told.update("between", steps=1)
        assert await told.answer() == Updated("between", replace(FLASH, steps=1), 1, 0, 2)


async def test_behind_the_last_window_of_an_utterance_the_one_that_waits_is_told(
    tmp_path: Path,
) -> None:
    async with talk(tmp_path) as told:
        gate = told.gated.gates["vae_decoder"] = asyncio.Event()
        for frames in (3, 4, 5):
            await told.say(frames)
            await told.conversation.end_utterance()
        await until(lambda: "denoiser" in told.gated.executions)
        told.update("now", steps=1)
        assert await told.answer() == Updated("now", replace(FLASH, steps=1), 1, 0, 3)
        gate.set()


async def test_an_interruption_leaves_updates_alone(tmp_path: Path) -> None:
    async with talk(tmp_path) as told:
        await told.say(7)
        await told.frames(3)
        await told.gated.close_gate("text_encoder")
        told.update("slow", prompt="portrait")
        told.conversation.interrupt()
        told.gated.open_gate("text_encoder")
        assert await anext(told.events) == Interrupted(2, 3 * FRAME, 2, 3 * FRAME, 0)
        assert await told.answer() == Updated("slow", replace(FLASH, prompt="portrait"), 1, 0, 3)


async def test_an_update_is_answered_before_the_end(tmp_path: Path) -> None:
    async with talk(tmp_path) as told:
        await told.gated.close_gate("text_encoder")
        told.update("late", prompt="portrait")
        await told.conversation.end()
        told.gated.open_gate("text_encoder")
        assert [event async for event in told.events] == [
            Updated("late", replace(FLASH, prompt="portrait"), 0, 0, 0)
        ]


async def test_answers_that_nobody_reads_are_bounded(tmp_path: Path) -> None:
    async def never_read() -> None:
        async with talk(tmp_path) as told:
            for _ in range(MAX_UNREAD_ANSWERS + MAX_WAITING_UPDATES + 1):
                told.update()

    with pytest.raises(LimitError, match="max_unread_answers"):
        await never_read()


async def test_steps_that_are_lowered_while_a_prompt_is_encoded_stay_so(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def make(settings: GenerationSettings, priority: Priority) -> Any:
        if settings.prompt == "other":
            await gate.wait()

    offer = Offer(small_windows(), manifest())
    updates = Updates(replace(FLASH, steps=8), offer, make, lambda *_: None)
    settling = asyncio.create_task(updates.settle())
    await updates.settled()
    updates.ask(Update("", {"prompt": "other"}, "update"))
    await asyncio.sleep(0)
    updates.take_steps(3)
    gate.set()
    await updates.settled()
    await until(lambda: updates.drawn.steps == 3)
    assert (updates.settings.prompt, updates.settings.steps) == ("other", 8)
    assert updates.most_steps == 3
    settling.cancel()
