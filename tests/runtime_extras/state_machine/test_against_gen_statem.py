"""What our state machines do is what gen_statem did.

``otp/traces.jsonl`` was recorded from Erlang/OTP 25 (stdlib 4.2) by ``otp/record.erl``, three times; the scenarios whose
three traces were equal are kept. Each line has the machine, how it was driven, every callback in order, the replies to its
calls, and its end.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from dspex.runtime import NORMAL, ActorExit, Crash, open_runtime
from dspex.runtime.state_machine import (
    POSTPONE,
    Answer,
    BadTransition,
    Called,
    Clock,
    Entered,
    Halt,
    Info,
    Insert,
    Internal,
    Keep,
    Next,
    Repeat,
    StateEvent,
    StateMachine,
    TimedOut,
    UpdateTimeout,
    cancel_timeout,
    event,
    named_timeout,
)
from dspex.runtime.testing import all_tasks_blocked

pytestmark = pytest.mark.anyio

TRACES = (Path(__file__).parent / "otp" / "traces.jsonl").read_text().splitlines()
UNIT = 0.060
MORE = {"state": 0.005, "event": 0.011, "n1": 0.014, "n2": 0.018}
CLOCKS: dict[str, Any] = {"state": Clock.STATE, "event": Clock.EVENT, "n1": "n1", "n2": "n2"}
KINDS = {Clock.STATE: "state_timeout", Clock.EVENT: "timeout"}
STEPS = 60


class Scripted(StateMachine[str]):
    def __init__(self, case: dict[str, Any]) -> None:
        self.rules = {(s, tuple(e) if isinstance(e, list) else e): (n, a) for s, e, n, a in case["rules"]}
        self.case = case
        self.state_enter = case["enter"]
        self.trace: list[list[str]] = []

    async def init(self) -> None:
        self.begin(self.case["initial"], *[self.action(a, None) for a in self.case["actions"]])

    @event
    def tell(self, key: str) -> str: ...

    async def handle_event(self, event: StateEvent) -> Any:
        kind, key = self.named(event)
        self.trace.append([self.state, kind, key[1] if isinstance(key, tuple) else key])
        if len(self.trace) > STEPS:
            return Halt()
        to, wanted = self.rules.get((self.state, key), ("keep", []))
        is_call = isinstance(event, Called) and event.expects_reply
        actions = [self.action(a, event) for a in wanted if is_call or a[0] != "reply"]
        if to == "stop":
            return Halt(NORMAL, *[a for a in actions if isinstance(a, Answer)])
        if to in ("keep", "repeat"):
            return (Keep if to == "keep" else Repeat)(*actions)
        return Next(to, *actions)

    def named(self, event: StateEvent) -> tuple[str, Any]:
        match event:
            case Called(_, (key,)):
                return "call" if event.expects_reply else "cast", key
            case Info(key):
                return "info", key
            case Internal(key):
                return "internal", key
            case TimedOut(clock, key):
                return KINDS.get(clock, clock), key  # type: ignore[call-overload, return-value]
            case Entered(previous):
                return "enter", ("enter", previous)

    def action(self, action: Any, event: StateEvent | None) -> Any:
        match action:
            case "postpone":
                return POSTPONE
            case ["reply", value]:
                assert isinstance(event, Called)
                return Answer(event, value)
            case ["insert", key]:
                return Insert(Internal(key))
            case ["set", clock, "infinity", key]:
                return named_timeout(CLOCKS[clock], None, key)
            case ["set", clock, units, key]:
                return named_timeout(CLOCKS[clock], units * UNIT + MORE[clock] if units else 0, key)
            case ["cancel", clock]:
                return cancel_timeout(CLOCKS[clock])
            case ["update", clock, key]:
                return UpdateTimeout(CLOCKS[clock], key)
        raise AssertionError(action)


async def replay(case: dict[str, Any]) -> dict[str, Any]:
    replies: list[list[str]] = []
    async with open_runtime() as rt, anyio.create_task_group() as group:
        machine = Scripted(case)
        ref = await rt.start(machine)

        async def ask(key: str, answer: list[str]) -> None:
            try:
                answer[1] = await ref.within(None).call(Scripted.tell, key)
            except ActorExit:
                answer[1] = "dead"

        for what, key in case["drive"]:
            if what == "sleep":
                await rt.sleep(key * UNIT / 2)
            elif what == "call":
                replies.append([key, "none"])
                group.start_soon(ask, key, replies[-1])
                await all_tasks_blocked()
            elif what == "cast":
                ref.cast(Scripted.tell, key)
            else:
                ref.send(key)
        await rt.sleep(2 * UNIT)
        reason = ref.exit_reason
        end = "alive" if reason is None else "normal" if reason is NORMAL else "crash"
        if isinstance(reason, Crash):
            assert isinstance(reason.error, BadTransition)
        group.cancel_scope.cancel()
    return {"trace": machine.trace, "replies": replies, "end": end}


@pytest.mark.parametrize("part", range(4))
async def test_a_scripted_machine_does_what_gen_statem_did(part: int) -> None:
    different = []
    for line in TRACES[part::4]:
        case = json.loads(line)
        ours = await replay(case)
        theirs = {key: case[key] for key in ours}
        if ours != theirs:
            different.append((case["id"], ours, theirs))
    assert different == []


def test_the_traces_are_there() -> None:
    assert len(TRACES) == 232
