"""Calls a type checker must accept, with the types it must find. Read by ``test_types.py``, never run."""

from typing import assert_type

from dspex.runtime import Actor, MultiReply, NamedRef, Ref, Refs, Runtime, get_state, in_thread, multi_call, multi_cast


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, n: int, *, twice: bool = False) -> int:
        self.value += n * (2 if twice else 1)
        return self.value

    async def slow_add(self, n: int) -> str:
        return str(self.add(n))

    def reset(self) -> None:
        self.value = 0

    async def add_all(self, *numbers: int) -> list[int]:
        return [self.add(n) for n in numbers]

    def meet(self, other: "Ref[Counter]") -> None:
        own: Ref[Counter] = self.ref
        own.cast(Counter.add, 1)
        other.cast(Counter.add, 1)
        self.continue_with(Counter.add, 1, twice=True)


class Polite(Counter):
    def greet(self, name: str) -> bytes:
        return name.encode()


def blocking(path: str, times: int = 1) -> float:
    return len(path) * 1.0 * times


async def calls(rt: Runtime) -> None:
    ref = await rt.start(Counter(5))
    assert_type(ref, Ref[Counter])
    assert_type(await ref.call(Counter.add, 1), int)
    assert_type(await ref.call(Counter.add, 1, twice=True), int)
    assert_type(await ref.call(Counter.add, n=1), int)
    assert_type(await ref.call(Counter.slow_add, 1), str)
    assert_type(await ref.call(Counter.reset), None)
    assert_type(await ref.call(Counter.add_all, 1, 2, 3), list[int])
    assert_type(ref.within(3).until(5.0), Ref[Counter])
    assert_type(await ref.within(None).call(Counter.add, 1), int)
    ref.cast(Counter.slow_add, 1)
    await ref.cast_wait(Counter.add, 1, twice=True)
    ref.cast(Counter.meet, ref)


async def subclasses(rt: Runtime) -> None:
    polite = await rt.start(Polite())
    assert_type(await polite.call(Polite.greet, "you"), bytes)
    assert_type(await polite.call(Counter.add, 1), int)
    base: Ref[Counter] = polite
    assert_type(await base.call(Counter.add, 1), int)


async def names(rt: Runtime) -> None:
    named: NamedRef[Counter] = rt.ref("counter")
    assert_type(await named.call(Counter.slow_add, 1), str)
    assert_type(named.resolve(), Ref[Counter] | None)
    named.within(1).cast(Counter.reset)


async def many(refs: list[Ref[Counter]]) -> None:
    answered = await multi_call(refs, Counter.slow_add, 1)
    assert_type(answered, MultiReply[Counter, str])
    assert_type(answered.replies[0][1], str)
    assert_type(answered.failures[0][1], Exception)
    assert_type(await Refs(refs).within(2).call(Counter.add, 1), MultiReply[Counter, int])
    multi_cast(refs, Counter.add, 1, twice=True)


def threads(rt: Runtime, ref: Ref[Counter]) -> None:
    assert_type(rt.from_thread.call(ref, Counter.add, 1), int)
    assert_type(rt.from_thread.call(rt.ref("counter"), Counter.slow_add, n=1), str)
    rt.from_thread.cast(ref, Counter.reset)


async def others(ref: Ref[Counter]) -> None:
    assert_type(await in_thread(blocking, "path", times=2), float)
    assert_type(ref.statistics().handled, int)
    await get_state(ref)
