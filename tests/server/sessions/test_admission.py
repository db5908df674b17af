"""Places: bounded in all and for each caller, and closed with a reason."""

import asyncio

import pytest

from server.access.caller import Caller
from server.errors import CapacityError, ShuttingDownError
from server.sessions.admission import Admission


def admits(streams: int, of_a_caller: int) -> Admission:
    return Admission(
        max_streams=streams,
        max_streams_per_caller=of_a_caller,
        max_opening=5,
        max_opening_per_caller=2,
    )


async def test_places_are_bounded_in_all_and_for_each_caller() -> None:
    admission = admits(3, 2)
    async with admission.place(Caller("a")), admission.place(Caller("a")):
        with pytest.raises(CapacityError, match="max_streams_per_caller"):
            async with admission.place(Caller("a")):
                pass
        async with admission.place(Caller("b")):
            with pytest.raises(CapacityError, match="max_streams"):
                async with admission.place(Caller("c")):
                    pass
    assert admission.active == 0


async def test_a_caller_may_have_a_limit_of_their_own() -> None:
    admission = admits(3, 1)
    favoured = Caller("a", max_streams=2)
    async with admission.place(favoured), admission.place(favoured):
        with pytest.raises(CapacityError) as refused:
            async with admission.place(favoured):
                pass
    assert str(refused.value).startswith("all 2 places are taken (limit `max_streams_per_caller`)")


async def test_waiting_for_a_start_takes_no_place_and_is_bounded() -> None:
    admission = admits(1, 1)
    opening = [admission.opening(Caller(f"caller {n}")) for n in range(5)]
    for each in opening:
        each.__enter__()
    with (
        pytest.raises(CapacityError, match="max_opening_calls"),
        admission.opening(Caller("another")),
    ):
        pass
    async with admission.place(Caller("a")):
        assert admission.active == 1
    for each in opening:
        each.__exit__(None, None, None)
    of_one = [admission.opening(Caller("a")) for _ in range(2)]
    for each in of_one:
        each.__enter__()
    with (
        pytest.raises(CapacityError, match="max_opening_calls_per_caller"),
        admission.opening(Caller("a")),
    ):
        pass
    with admission.opening(Caller("b")):
        pass


async def test_closing_waits_then_ends_what_is_left_with_a_reason() -> None:
    admission = admits(2, 2)
    ended: list[str] = []

    async def work(name: str, seconds: float) -> None:
        async with admission.place(Caller("a")):
            await asyncio.sleep(seconds)
            ended.append(name)

    quick, slow = (asyncio.create_task(work(*each)) for each in (("quick", 0.01), ("slow", 60)))
    await asyncio.sleep(0)
    await admission.close(grace_s=0.1)
    await quick
    with pytest.raises(ShuttingDownError):
        await slow
    assert ended == ["quick"]
    with pytest.raises(ShuttingDownError):
        async with admission.place(Caller("b")):
            pass
    with pytest.raises(ShuttingDownError), admission.opening(Caller("b")):
        pass


async def test_a_timeout_of_the_work_itself_stays_one() -> None:
    admission = admits(1, 1)
    with pytest.raises(TimeoutError):
        async with admission.place(Caller("a")):
            raise TimeoutError
