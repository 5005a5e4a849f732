"""What a caller sees: answers, refusals, crashes, time-outs, and what becomes of what nobody reads."""

from __future__ import annotations

import anyio
import pytest
from dspex.runtime import (
    KILLED,
    NOPROC,
    NORMAL,
    Actor,
    ActorExit,
    BadProcess,
    CallingSelf,
    CallTimeout,
    Crash,
    Event,
    NotAHandler,
    Ref,
    Refuse,
    Runtime,
    UnknownProcess,
    open_runtime,
    spawn,
)

pytestmark = pytest.mark.anyio


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.value = start
        self.seen: list[object] = []

    def add(self, n: int) -> int:
        self.value += n
        return self.value

    async def slow_add(self, n: int, seconds: float) -> int:
        await self.rt.sleep(seconds)
        return self.add(n)

    def refuse(self, error: Exception) -> None:
        raise Refuse(error)

    def crash(self, error: Exception) -> None:
        raise error

    async def call_me(self) -> int:
        return await self.ref.call(Counter.add, 1)

    def mood(self) -> str:
        return "plain"

    def history(self) -> list[object]:
        return self.seen

    def _secret(self) -> int:
        return 42

    async def handle_info(self, message: object) -> None:
        self.seen.append(message)


class Polite(Counter):
    def mood(self) -> str:
        return "polite"


class Other(Actor):
    def add(self, n: int) -> int:
        return -n


def heard(rt: Runtime, prefix: str) -> list[Event]:
    events: list[Event] = []
    rt.events.subscribe(events.append, prefix=prefix)
    return events


async def test_a_call_is_answered_with_what_the_method_returns() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter(5))
        assert await ref.call(Counter.add, 1) == 6
        assert await ref.call(Counter.slow_add, n=1, seconds=3) == 7


async def test_messages_of_one_sender_are_handled_in_the_order_sent() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        ref.send("first")
        ref.cast(Counter.slow_add, 5, 1.0)
        ref.send("second")
        assert await ref.call(Counter.history) == ["first", "second"]
        assert await ref.call(Counter.add, 0) == 5


async def test_an_overridden_method_answers_for_the_one_it_overrides() -> None:
    async with open_runtime() as rt:
        ref: Ref[Counter] = await rt.start(Polite())
        assert await ref.call(Counter.mood) == "polite"


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(Other.add, id="another actor's method of the same name"),
        pytest.param(Counter._secret, id="a private method"),
        pytest.param(lambda self: 1, id="a lambda"),
        pytest.param("add", id="a string"),
        pytest.param([], id="something unhashable"),
    ],
)
async def test_what_is_no_method_of_the_actor_is_refused_before_anything_is_sent(method: object) -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        with pytest.raises(NotAHandler):
            await ref.call(method)  # type: ignore[call-overload]
        with pytest.raises(NotAHandler):
            ref.cast(method)  # type: ignore[arg-type]
        assert await ref.call(Counter.add, 0) == 0


async def test_arguments_that_do_not_fit_fail_the_caller_and_not_the_actor() -> None:
    async with open_runtime() as rt:
        letters = heard(rt, "runtime.dead_letter")
        ref = await rt.start(Counter())
        with pytest.raises(NotAHandler, match=r"Counter\.add"):
            await ref.call(Counter.add)  # type: ignore[call-arg]
        ref.cast(Counter.slow_add, 1, 2, 3)  # type: ignore[call-arg]
        assert await ref.call(Counter.add, 1) == 1
        assert [letter.data["kind"] for letter in letters] == ["cast"]


async def test_a_type_error_inside_a_handler_is_a_crash_like_any_other() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        with pytest.raises(ActorExit) as exit_:
            await ref.call(Counter.add, "one")  # type: ignore[arg-type]
        assert isinstance(exit_.value.__cause__, TypeError)


async def test_a_refusal_reaches_the_caller_and_the_actor_lives() -> None:
    class OutOfStock(Refuse):
        pass

    class Shop(Actor):
        def buy(self) -> None:
            raise OutOfStock

    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        with pytest.raises(KeyError, match="no such thing"):
            await ref.call(Counter.refuse, KeyError("no such thing"))
        ref.cast(Counter.refuse, KeyError("nobody hears this"))
        assert await ref.call(Counter.add, 1) == 1
        shop = await rt.start(Shop())
        with pytest.raises(OutOfStock):
            await shop.call(Shop.buy)
        assert shop.alive


async def test_a_crash_ends_the_actor_and_its_caller_learns_why() -> None:
    async with open_runtime() as rt:
        crashes = heard(rt, "runtime.actor.crashed")
        ref = await rt.start(Counter())
        error = ValueError("boom")
        with pytest.raises(ActorExit) as exit_:
            await ref.call(Counter.crash, error)
        assert exit_.value.reason == Crash(error)
        assert exit_.value.__cause__ is error
        assert not ref.alive
        assert ref.exit_reason == Crash(error)
        assert [event.data["error"] for event in crashes] == [error]


async def test_everybody_who_waits_for_a_crashed_actor_learns_of_it_at_once() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        seen: list[ActorExit] = []

        async def ask() -> None:
            with pytest.raises(ActorExit) as exit_:
                await ref.call(Counter.add, 1)
            seen.append(exit_.value)

        async with anyio.create_task_group() as group:
            ref.cast(Counter.slow_add, 1, 2)
            ref.cast(Counter.crash, ValueError("boom"))
            for _ in range(10):
                group.start_soon(ask)
        assert len(seen) == 10
        assert {str(error.__cause__) for error in seen} == {"boom"}
        assert rt.now() == pytest.approx(2)


async def test_a_call_to_a_dead_actor_fails_at_once() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        await ref.stop()
        with pytest.raises(ActorExit) as exit_:
            await ref.call(Counter.add, 1)
        assert exit_.value.reason is NOPROC
        assert "not alive" in str(exit_.value)


async def test_a_call_times_out_and_the_late_answer_is_dropped() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        before = rt.now()
        with pytest.raises(CallTimeout) as timeout:
            await ref.call(Counter.slow_add, 1, 60)
        assert 5.0 <= rt.now() - before <= 5.1
        assert isinstance(timeout.value, TimeoutError)
        assert await ref.within(None).call(Counter.add, 1) == 2
        assert ref.alive


async def test_a_call_waits_as_long_as_it_is_told_to() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        assert await ref.within(100).call(Counter.slow_add, 1, 60) == 1
        assert await ref.within(None).call(Counter.slow_add, 1, 10_000) == 2
        before = rt.now()
        with pytest.raises(CallTimeout):
            await ref.within(0.1).call(Counter.slow_add, 1, 1)
        assert rt.now() - before == pytest.approx(0.1)
        with pytest.raises(ValueError, match="seconds"):
            await ref.within(-1).call(Counter.add, 1)
        with pytest.raises(ValueError, match="seconds"):
            await ref.within(float("nan")).call(Counter.add, 1)


async def test_a_deadline_is_handed_on_as_an_absolute_time() -> None:
    class Front(Actor):
        def __init__(self, back: Ref[Counter]) -> None:
            self.back = back

        async def ask(self, seconds: float) -> float | None:
            await self.rt.sleep(1)
            await self.back.until(self.deadline).call(Counter.slow_add, 1, seconds)
            return self.deadline

    async with open_runtime() as rt:
        back = await rt.start(Counter())
        front = await rt.start(Front(back))
        start = rt.now()
        deadline = await front.within(10).call(Front.ask, 5)
        assert deadline is not None
        assert 10 <= deadline - start <= 10.1
        with pytest.raises(CallTimeout):
            await front.within(10).call(Front.ask, 60)
        assert rt.now() - (start + 6) <= 10.1


async def test_a_cancelled_caller_leaves_the_actor_alone() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        with anyio.move_on_after(1) as scope:
            await ref.call(Counter.slow_add, 1, 3)
        assert scope.cancelled_caught
        assert await ref.call(Counter.add, 1) == 2


async def test_an_actor_that_calls_itself_is_told_so() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        with pytest.raises(ActorExit) as exit_:
            await ref.call(Counter.call_me)
        assert isinstance(exit_.value.__cause__, CallingSelf)


async def test_what_is_sent_to_the_dead_becomes_a_dead_letter() -> None:
    async with open_runtime() as rt:
        letters = heard(rt, "runtime.dead_letter")
        ref = await rt.start(Counter())
        ref.cast(Counter.slow_add, 1, 10)
        ref.send("never read")
        ref.kill()
        await ref.ended()
        ref.cast(Counter.add, 1)
        ref.send("secret")
        assert len(letters) == 3 + 1
        assert all("secret" not in str(letter) for letter in letters)
        assert ref.exit_reason is KILLED


async def test_an_unhandled_message_is_an_event_and_no_crash() -> None:
    async with open_runtime() as rt:
        unhandled = heard(rt, "runtime.unhandled")
        ref = await rt.start(Other())
        ref.send("what?")
        assert await ref.call(Other.add, 1) == -1
        assert [event.data["kind"] for event in unhandled] == ["str"]


async def test_a_stop_is_waited_for_and_says_if_it_went_otherwise() -> None:
    class Stubborn(Actor):
        async def terminate(self, reason: object) -> None:
            await self.rt.sleep(10)
            raise ValueError("not like this")

    async with open_runtime() as rt:
        ref = await rt.start(Stubborn())
        with pytest.raises(CallTimeout):
            await ref.stop(within=1)
        with pytest.raises(ActorExit, match="ended before") as exit_:
            await ref.stop()
        assert exit_.value.reason is NOPROC or isinstance(exit_.value.reason, Crash)
        await ref.ended()
        ref = await rt.start(Stubborn())
        with pytest.raises(ActorExit) as exit_:
            await ref.stop()
        assert isinstance(exit_.value.__cause__, ValueError)
        with pytest.raises(ActorExit) as exit_:
            await ref.stop()
        assert exit_.value.reason is NOPROC
        counter = await rt.start(Counter())
        await counter.stop()
        assert counter.exit_reason is NORMAL


async def test_a_named_reference_follows_the_name() -> None:
    async with open_runtime() as rt:
        named = rt.ref("counter")
        letters = heard(rt, "runtime.dead_letter")
        assert not named.alive
        with pytest.raises(UnknownProcess, match="counter"):
            await named.call(Counter.add, 1)
        with pytest.raises(UnknownProcess):
            named.send("hello")
        named.cast(Counter.add, 1)
        assert len(letters) == 1
        first = await rt.start(Counter(), name="counter")
        assert await named.call(Counter.add, 1) == 1
        await first.stop()
        await rt.start(Counter(10), name="counter")
        assert await named.within(1).call(Counter.add, 1) == 11


async def test_a_plain_process_has_no_methods() -> None:
    async def idle(me: object) -> None:
        await anyio.sleep_forever()

    async with open_runtime():
        ref = spawn(idle)
        with pytest.raises(NotAHandler, match="plain process"):
            await ref.call(Counter.add, 1)
        with pytest.raises(NotAHandler, match="plain process"):
            ref.cast(Counter.add, 1)


async def test_an_actor_that_was_not_started_says_so() -> None:
    with pytest.raises(BadProcess, match="not been started"):
        _ = Counter().ref
