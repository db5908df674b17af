"""Work in parts: all of it once, in order, and no thread for what is small."""

import threading

import pytest

from server import parts
from server.parts import PART_BYTES, in_parts


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 9, 64])
@pytest.mark.parametrize("nbytes", [0, 1, PART_BYTES, 3 * PART_BYTES, 100 * PART_BYTES])
async def test_parts_are_all_of_it_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, length: int, nbytes: int
) -> None:
    monkeypatch.setattr(parts, "THREADS", 4)
    numbers = list(range(length))
    done = await in_parts(lambda part: numbers[part], length, nbytes)
    assert [number for part in done for number in part] == numbers
    assert all(done)
    assert len(done) == max(1, min(4, length, nbytes // PART_BYTES))


async def test_large_parts_are_worked_on_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "THREADS", 2)
    together = threading.Barrier(2, timeout=30)
    await in_parts(lambda _: together.wait(), 2, 2 * PART_BYTES)


async def test_what_fails_in_a_part_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "THREADS", 2)

    def fail(part: slice) -> None:
        if part.start:
            raise MemoryError

    with pytest.raises(MemoryError):
        await in_parts(fail, 2, 2 * PART_BYTES)
