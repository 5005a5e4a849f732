"""Messages sent again and again."""

from __future__ import annotations

import anyio.lowlevel
import pytest
from dspex.runtime import Actor, BadProcess, open_runtime

pytestmark = pytest.mark.anyio


class Clock(Actor):
    def __init__(self) -> None:
        self.ticks: list[float] = []

    async def tick_myself(self, seconds: float) -> None:
        self.interval = self.send_interval(seconds, self.ref, "tick")

    def stop_ticking(self) -> bool:
        return self.interval.cancel()

    def read(self) -> list[float]:
        return self.ticks

    async def handle_info(self, message: object) -> None:
        assert message == "tick"
        self.ticks.append(round(self.rt.now() - self.begun, 6))

    async def init(self) -> None:
        self.begun = self.rt.now()


async def test_an_interval_goes_on_without_drift_until_it_is_cancelled() -> None:
    async with open_runtime() as rt:
        clock = await rt.start(Clock())
        await clock.call(Clock.tick_myself, 0.1)
        await rt.sleep(0.35)
        assert await clock.call(Clock.stop_ticking) is True
        assert await clock.call(Clock.stop_ticking) is False
        await rt.sleep(1)
        assert await clock.call(Clock.read) == [0.1, 0.2, 0.3]


async def test_an_interval_ends_with_its_receiver_and_one_to_a_name_goes_on() -> None:
    async with open_runtime() as rt:
        clock = await rt.start(Clock(), name="clock")
        bound = rt.send_interval(1, clock, "tick")
        named = rt.send_interval(1, rt.ref("clock"), "tick")
        await rt.sleep(1.5)
        assert await clock.call(Clock.read) == [1, 1]
        await clock.stop()
        assert not bound.active
        assert bound.cancel() is False
        await rt.sleep(2)
        again = await rt.start(Clock(), name="clock")
        await rt.sleep(1)
        assert len(await again.call(Clock.read)) == 1
        assert named.active
        assert named.cancel() is True
        assert not rt.send_interval(1, clock, "tick").active


async def test_an_interval_has_a_length() -> None:
    async with open_runtime() as rt:
        clock = await rt.start(Clock())
        for seconds in (0, -1):
            with pytest.raises(ValueError, match="seconds > 0"):
                rt.send_interval(seconds, clock, "tick")
        with pytest.raises(BadProcess):
            rt.send_interval(1, "clock", "tick")  # type: ignore[arg-type]
        await anyio.lowlevel.checkpoint()
