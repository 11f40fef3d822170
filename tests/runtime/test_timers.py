from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import uvloop

from paxos.runtime.timers import Timers


class Bell:
    """Timers, and what they rang."""

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.timers = Timers(asyncio.get_running_loop(), self.rung.append)


def play(test: Callable[[Bell], Awaitable[None]]) -> None:
    async def whole() -> None:
        await test(Bell())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


async def until_rung(bell: Bell, count: int) -> None:
    async with asyncio.timeout(10):
        while len(bell.rung) < count:
            await asyncio.sleep(0.001)


def test_a_timer_rings_once_when_its_time_has_come() -> None:
    """effects.SetTimer: `TimerFired(name)` after a while."""

    async def test(bell: Bell) -> None:
        bell.timers.set("once", 1)
        bell.timers.set("marker", 20)
        await until_rung(bell, 2)
        assert bell.rung == ["once", "marker"]

    play(test)


def test_a_timer_is_replaced_when_it_is_set_again() -> None:
    """effects.SetTimer: "replaces a running timer of that name"."""

    async def test(bell: Bell) -> None:
        bell.timers.set("one", 1)
        bell.timers.set("one", 30)
        bell.timers.set("two", 10)
        await until_rung(bell, 2)
        assert bell.rung == ["two", "one"]

    play(test)


def test_a_timer_is_silent_when_it_was_stopped() -> None:
    """effects.CancelTimer: stops it, if it runs."""

    async def test(bell: Bell) -> None:
        bell.timers.set("stopped", 1)
        bell.timers.cancel("stopped")
        bell.timers.cancel("never set")
        bell.timers.set("marker", 10)
        await until_rung(bell, 1)
        assert bell.rung == ["marker"]

    play(test)


def test_a_timer_may_set_itself_again_when_it_rings() -> None:
    """A heartbeat does."""

    async def test(bell: Bell) -> None:
        def again(name: str) -> None:
            bell.rung.append(name)
            if len(bell.rung) < 3:
                timers.set(name, 0)

        timers = Timers(asyncio.get_running_loop(), again)
        timers.set("beat", 0)
        await until_rung(bell, 3)
        assert bell.rung == ["beat"] * 3

    play(test)


def test_no_timer_rings_when_all_were_stopped() -> None:
    """The node stops."""

    async def test(bell: Bell) -> None:
        for name in ("one", "two"):
            bell.timers.set(name, 1)
        bell.timers.cancel_all()
        bell.timers.set("marker", 10)
        await until_rung(bell, 1)
        assert bell.rung == ["marker"]

    play(test)
