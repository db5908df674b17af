"""Newcomers' executions go before all others."""

import asyncio

from server.triton.precedence import Precedence

FOREVER_S = 600.0


async def settled() -> None:
    """Lets every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def other(precedence: Precedence, ran: asyncio.Event) -> None:
    async with precedence.turn(first=False):
        ran.set()


async def test_without_newcomers_nobody_waits() -> None:
    ran = asyncio.Event()
    await other(Precedence(patience_s=FOREVER_S), ran)
    assert ran.is_set()


async def test_others_wait_for_every_newcomer() -> None:
    precedence, ran = Precedence(linger_s=0, patience_s=FOREVER_S), asyncio.Event()
    async with precedence.turn(first=True):
        async with precedence.turn(first=True):
            waiting = asyncio.create_task(other(precedence, ran))
            await settled()
        await settled()
        assert not ran.is_set()
    async with asyncio.timeout(20):
        await waiting


async def test_nobody_slips_in_between_the_steps_of_a_newcomer() -> None:
    precedence, ran = Precedence(linger_s=0.01, patience_s=FOREVER_S), asyncio.Event()
    async with precedence.turn(first=True):
        waiting = asyncio.create_task(other(precedence, ran))
        await settled()
    await settled()
    assert not ran.is_set()
    async with precedence.turn(first=True):
        # The moment after the first step passes, in the midst of the second.
        await asyncio.sleep(0.02)
        assert not ran.is_set()
    async with asyncio.timeout(20):
        await waiting


async def test_a_newcomer_that_hangs_or_fails_does_not_keep_others_out() -> None:
    precedence, ran = Precedence(linger_s=0, patience_s=0.01), asyncio.Event()
    async with asyncio.timeout(20), precedence.turn(first=True):
        await other(precedence, ran)
    assert ran.is_set()

    precedence = Precedence(linger_s=0, patience_s=FOREVER_S)
    hanging = asyncio.create_task(hang(precedence))
    await settled()
    hanging.cancel()
    async with asyncio.timeout(20):
        await other(precedence, asyncio.Event())


async def test_others_wait_no_longer_than_they_can() -> None:
    precedence, ran = Precedence(linger_s=0, patience_s=FOREVER_S), asyncio.Event()
    async with (
        asyncio.timeout(20),
        precedence.turn(first=True),
        precedence.turn(first=False, patience_s=0.01),
    ):
        ran.set()
    assert ran.is_set()


async def test_others_go_on_where_there_is_room_for_more_than_go_first() -> None:
    room = 2
    precedence, ran = (
        Precedence(linger_s=0, patience_s=FOREVER_S, room=lambda: room),
        asyncio.Event(),
    )
    async with precedence.turn(first=True):
        await other(precedence, asyncio.Event())
        async with precedence.turn(first=True):
            waiting = asyncio.create_task(other(precedence, ran))
            await settled()
            assert not ran.is_set()
        # One of the two has gone.
        async with asyncio.timeout(20):
            await waiting
    # None to be had just now, as where every Triton is down.
    room = 0
    async with precedence.turn(first=True):
        pass
    async with asyncio.timeout(20):
        await other(precedence, asyncio.Event())


async def hang(precedence: Precedence) -> None:
    async with precedence.turn(first=True):
        await asyncio.Event().wait()
