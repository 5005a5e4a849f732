"""Calls a type checker must refuse: each line that ends with ``# refused``, and no other. Never run."""

from dspex.runtime import Actor, Ref, Refs, Runtime, in_thread, multi_call, multi_cast


class Counter(Actor):
    def add(self, n: int, *, twice: bool = False) -> int:
        return n

    async def slow_add(self, n: int) -> str:
        return str(n)


class Polite(Counter):
    def greet(self, name: str) -> None:
        pass


class Other(Actor):
    def add(self, n: int) -> int:
        return n


async def calls(ref: Ref[Counter], polite: Ref[Polite]) -> None:
    await ref.call(Counter.add)  # refused
    await ref.call(Counter.add, "one")  # refused
    await ref.call(Counter.add, 1, 2)  # refused
    await ref.call(Counter.add, 1, thrice=True)  # refused
    await ref.call(Counter.slow_add, None)  # refused
    await ref.call(Other.add, 1)  # refused
    await ref.call(Polite.greet, "you")  # refused
    await ref.call("add", 1)  # refused
    ref.cast(Counter.add)  # refused
    ref.cast(Other.add, 1)  # refused
    await ref.cast_wait(Counter.add, "one")  # refused
    await ref.within("soon").call(Counter.add, 1)  # refused
    answer: str = await ref.call(Counter.add, 1)  # refused
    later: int = await ref.call(Counter.slow_add, 1)  # refused
    print(answer, later)
    narrower: Ref[Polite] = ref  # refused
    print(narrower, polite)


async def many(refs: list[Ref[Counter]]) -> None:
    await multi_call(refs, Counter.add, "one")  # refused
    await multi_call(refs, Other.add, 1)  # refused
    multi_cast(refs, Counter.add)  # refused
    await Refs(refs).call(Other.add, 1)  # refused


def threads(rt: Runtime, ref: Ref[Counter]) -> None:
    rt.from_thread.call(ref, Counter.add, "one")  # refused
    rt.from_thread.call(ref, Other.add, 1)  # refused
    rt.from_thread.cast(ref, Counter.add)  # refused


async def others(rt: Runtime) -> None:
    await in_thread(len, 5)  # refused
    await rt.start(Counter)  # refused
    await rt.start("counter")  # refused
