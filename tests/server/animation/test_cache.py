"""What is remembered, for whom, and who computes it."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from server.animation.cache import ByteCache, Hold
from server.animation.condition import Conditioner
from tests.support.fake_engine import FakeEngine
from tests.support.serving import tokenizer

ARRAY = np.zeros(25, np.float32)
ENOUGH = 10 * ARRAY.nbytes


class Maker:
    """Makes an array when it may, and counts."""

    def __init__(self) -> None:
        self.begun = 0
        self.may = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> np.ndarray:
        self.begun += 1
        await self.may.wait()
        if self.error is not None:
            raise self.error
        return ARRAY.copy()


async def ask(cache: ByteCache, make: Maker, callers: int) -> list[asyncio.Task[np.ndarray]]:
    asking = [asyncio.create_task(cache.get(("key",), make)) for _ in range(callers)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return asking


@pytest.mark.parametrize("max_bytes", [ENOUGH, 0])
async def test_what_several_ask_for_at_once_is_made_once(max_bytes: int) -> None:
    make, cache = Maker(), ByteCache(max_bytes)
    asking = await ask(cache, make, 3)
    make.may.set()
    first, *others = await asyncio.gather(*asking)
    assert all(array is first for array in others)
    assert make.begun == 1
    assert not first.flags.writeable


async def test_a_cancelled_maker_does_not_take_the_others_with_it() -> None:
    make, cache = Maker(), ByteCache(ENOUGH)
    asking = await ask(cache, make, 3)
    asking[0].cancel()
    asking[2].cancel()
    await asyncio.wait([asking[0], asking[2]])
    make.may.set()
    np.testing.assert_array_equal(await asking[1], ARRAY)
    assert asking[0].cancelled()
    assert make.begun == 2


async def test_an_error_is_everybodys_and_is_not_remembered() -> None:
    make, cache = Maker(), ByteCache(ENOUGH)
    make.error = RuntimeError("no")
    asking = await ask(cache, make, 3)
    make.may.set()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(result) for result in results] == [RuntimeError] * 3
    # Each has its own: a call that has ended clears the frames that its error came by.
    assert len({id(result) for result in results}) == 3
    assert make.begun == 1
    make.error = None
    np.testing.assert_array_equal(await cache.get(("key",), make), ARRAY)


async def test_the_least_recently_used_goes_first() -> None:
    make, cache = Maker(), ByteCache(2 * ARRAY.nbytes)
    make.may.set()
    for key in ("a", "b", "a", "c", "a", "b"):
        await cache.get((key,), make)
    assert make.begun == 4


async def test_a_hold_keeps_the_last_of_each_use() -> None:
    make, cache = Maker(), ByteCache(0)
    make.may.set()
    hold = Hold(cache)
    for use, key in (("text", "a"), ("negative", "b"), ("text", "a"), ("text", "c"), ("text", "a")):
        await hold.get(use, (key,), make)
    assert make.begun == 4


async def test_strangers_prompts_and_portraits_do_not_evict_a_running_streams(
    tmp_path: Path,
) -> None:
    engine = FakeEngine()
    one_portrait = 257 * 8 * 4 + 2 * 512 * 8 * 4 + 20 * 2 * 8 * 8 * 4
    shared = Conditioner(engine, tokenizer(tmp_path), ByteCache(one_portrait))

    async def utterance(conditioner: Conditioner, shade: int, prompt: str) -> None:
        picture = np.full((64, 64, 3), shade, np.uint8)
        await conditioner.avatar(picture, prompt, "not " + prompt)
        await conditioner.first_window(picture, 5)

    own = shared.for_stream()
    await utterance(own, 0, "portrait")
    for stranger in range(1, 4):
        await utterance(shared.for_stream(), stranger, f"stranger {stranger}")
    engine.executions.clear()
    await utterance(own, 0, "portrait")
    assert engine.executions == []
    # It was evicted for everybody else.
    await utterance(shared.for_stream(), 0, "portrait")
    assert set(engine.executions) == {"image_encoder", "text_encoder", "vae_encoder"}
