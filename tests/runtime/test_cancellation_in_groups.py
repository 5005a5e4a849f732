"""A cancellation that comes in a group, as a nursery of trio's raises it when it is cancelled from inside and from outside at
once, is a cancellation: it ends who was cancelled, and nobody else."""

import anyio
import pytest
from dspex.runtime import Actor, Crash, open_runtime

pytestmark = pytest.mark.anyio


async def grouped(*others: BaseException) -> None:
    """Wait to be cancelled, and say so in a group."""
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class() as cancelled:
        raise BaseExceptionGroup("as a nursery does", [cancelled, *others]) from None


class Serial(Actor):
    async def wait(self) -> None:
        await grouped()


class Concurrent(Actor):
    concurrency = 2

    async def wait(self) -> None:
        await grouped()

    async def wait_and_fail(self) -> None:
        await grouped(ValueError("on the way out"))

    def ping(self) -> str:
        return "here"


@pytest.mark.parametrize("kind", [Serial, Concurrent])
async def test_an_actor_that_is_killed_ends_and_the_runtime_lives(anyio_backend: str, kind: type[Serial]) -> None:
    async with open_runtime() as rt:
        ref = await rt.start(kind())
        other = await rt.start(Concurrent())
        ref.cast(kind.wait)
        await anyio.wait_all_tasks_blocked()
        ref.kill()
        assert await ref.ended(30)
        assert await other.call(Concurrent.ping) == "here"


async def test_a_concurrent_call_whose_caller_goes_away_leaves_its_actor_alive() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Concurrent())
        with anyio.move_on_after(0.05):
            await ref.within(None).call(Concurrent.wait)
        await anyio.wait_all_tasks_blocked()
        assert await ref.call(Concurrent.ping) == "here"


async def test_what_fails_beside_the_cancellation_is_a_crash_of_that_actor_alone() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Concurrent())
        other = await rt.start(Concurrent())
        with anyio.move_on_after(0.05):
            await ref.within(None).call(Concurrent.wait_and_fail)
        assert await ref.ended(30)
        assert isinstance(ref.exit_reason, Crash)
        assert await other.call(Concurrent.ping) == "here"
