"""A pipeline of agents that runs for months: `python examples/support_desk.py`, then `nc localhost 7070`.

Each line that comes in over TCP is a customer's message. The desk takes it in, a first agent finds out its mood, a second
writes a reply, the archive files it. The steps are stages of a demand-driven pipeline: nobody gets more than it asked for. When
the model is slow, or down, the agents wait for it and ask for nothing; the desk fills up (`ROOM`), and then a client's next
message is not accepted before there is room. So nothing piles up in here, whatever happens out there.

What outlives a crash is in one plain object, `Cases`. Desk, steps and agents may crash or be killed at any time: the supervisor
starts them again, the desk hands out once more what was not filed, and the archive files each case once. A message no agent can
deal with is put aside for a person, and holds nobody up.

Told to stop (SIGTERM, SIGINT), it accepts no more, finishes what it has, and ends with status 0.
"""

from __future__ import annotations

import argparse
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from dspex.engine import LM, AdapterParseError, LMError, Predict, is_retryable_lm_error
from dspex.engine.actors import ProgramActor
from dspex.runtime import ActorError, CallTimeout, Reason, Refuse, Reply, Runtime, open_runtime
from dspex.runtime.stages import Consumer, Producer, Stage, Subscribe, Subscription
from dspex.supervisors import Child, Supervisor

ROOM = 8
"""Messages that wait at the desk; one more waits at its client."""

GRACE = 30.0
"""Seconds to finish in, when told to stop."""


@dataclass(frozen=True)
class Case:
    number: int
    message: str
    mood: str = ""
    reply: str = ""


class Cases:
    """The open cases: what a restarted step goes on with. Filed ones are forgotten here."""

    def __init__(self) -> None:
        self.numbers = 0
        self.waiting: deque[Case] = deque()
        self.handed_out: dict[int, Case] = {}

    def __len__(self) -> int:
        return len(self.waiting) + len(self.handed_out)

    def accept(self, message: str) -> int:
        self.numbers += 1
        self.waiting.append(Case(self.numbers, message))
        return self.numbers

    def hand_out(self, count: int) -> list[Case]:
        cases = [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]
        self.handed_out.update((case.number, case) for case in cases)
        return cases

    def take_back(self) -> None:
        """Who had them in hand is gone."""
        self.waiting.extendleft(reversed(self.handed_out.values()))
        self.handed_out.clear()

    def close(self, case: Case) -> bool:
        """False: it is not open, it was closed before."""
        return self.handed_out.pop(case.number, None) is not None


class Closed(Refuse):
    """The desk accepts nothing any more."""


class Desk(Producer[Case]):
    """Accepts messages while there is room, hands out cases on demand, and keeps each until it is filed."""

    def __init__(self, cases: Cases) -> None:
        self.cases = cases
        self.owed = 0
        self.outside: deque[tuple[str, Reply]] = deque()
        self.drained: Reply | None = None

    def submit(self, message: str) -> int:
        """The number of the case, when it is accepted: at once, or when there is room. Refuses with Closed."""
        if self.drained is not None:
            raise Closed(None, "the desk is closed")
        if len(self.cases.waiting) >= ROOM:
            self.outside.append((message, self.defer()))
            return 0  # the answer comes later
        number = self.cases.accept(message)
        self.emit(self.take())
        return number

    def drain(self) -> None:
        """Accept no more; answers when every case is filed."""
        self.drained = self.defer()
        while self.outside:
            self.outside.popleft()[1].refuse(Closed(None, "the desk is closed").error)
        self.look_drained()

    def look_drained(self) -> None:
        """A case has been closed: was it the last?"""
        if self.drained is not None and not len(self.cases):
            self.drained.send(None)

    async def init(self) -> None:
        self.cases.take_back()

    async def handle_demand(self, demand: int) -> Sequence[Case]:
        self.owed += demand
        return self.take()

    async def handle_cancel(self, reason: Reason, subscription: Subscription) -> None:
        """The steps below are gone, with what they had in hand: it is to be done again."""
        self.cases.take_back()

    async def handle_subscribe(self, subscription: Subscription) -> None:
        """They are back. What the others had asked for and not got is still owed."""
        self.emit(self.take())

    def take(self) -> list[Case]:
        cases = self.cases.hand_out(self.owed)
        self.owed -= len(cases)
        while self.outside and len(self.cases.waiting) < ROOM:
            message, reply = self.outside.popleft()
            if not reply.abandoned:  # else its client has gone
                reply.send(self.cases.accept(message))
        return cases

    def tree_detail(self) -> str:
        return f"{len(self.cases.waiting)} waiting, {len(self.outside)} outside"


class Step(Stage[Case, Case]):
    """Has an agent work on each case. ``fields`` are what the agent is told, and the result is a field of its own name."""

    def __init__(self, agent: str, fields: tuple[str, ...], after: str) -> None:
        self.agent = agent
        self.fields = fields
        self.subscribe_to = (Subscribe(after, max_demand=2, min_demand=1),)

    async def handle_events(self, events: list[Case], subscription: Subscription) -> list[Case]:
        return [replace(case, **{self.agent: await self.found(case)}) for case in events]

    async def found(self, case: Case) -> str:
        """What the agent says. It is asked again until its model is back: meanwhile this step asks for no more cases."""
        pause = 0.05
        while True:
            try:
                asked = {field: getattr(case, field) for field in self.fields}
                prediction = await self.rt.ref(self.agent).within(60).call(ProgramActor.run, asked)
                return str(prediction[self.agent])
            except (AdapterParseError, LMError) as error:
                if not is_retryable_lm_error(error):
                    return f"for a person ({type(error).__name__})"
            except (ActorError, CallTimeout):
                pass  # the agent is being started again
            await self.rt.sleep(pause)
            pause = min(2 * pause, 5.0)


class Archive(Consumer[Case]):
    """Files each case once."""

    def __init__(self, cases: Cases, file: Callable[[Case], None], after: str) -> None:
        self.cases = cases
        self.file = file
        self.subscribe_to = (Subscribe(after, max_demand=1),)

    async def handle_events(self, events: list[Case], subscription: Subscription) -> None:
        for case in events:
            if self.cases.close(case):
                self.file(case)
                self.rt.ref("desk").cast(Desk.look_drained)


def root(cases: Cases, make_lm: Callable[[], Any], file: Callable[[Case], None]) -> Supervisor:
    """Everything that lives as long as the service."""
    mood, reply = Predict("message -> mood"), Predict("message, mood -> reply")
    agents = [
        Child("mood", lambda: ProgramActor(mood, lm=make_lm()), name="mood"),
        Child("reply", lambda: ProgramActor(reply, lm=make_lm()), name="reply"),
    ]
    steps = [
        Child("sort", lambda: Step("mood", ("message",), after="desk"), name="sort"),
        Child("write", lambda: Step("reply", ("message", "mood"), after="sort"), name="write"),
        Child("archive", lambda: Archive(cases, file, after="write"), name="archive"),
    ]
    often = {"intensity": 20, "period": 60.0}
    return Supervisor(
        [
            Child("agents", lambda: Supervisor(agents, **often), type="supervisor"),
            Child("desk", lambda: Desk(cases), name="desk"),
            # Together or not at all: what a dead step had in hand is then handed out again.
            Child("steps", lambda: Supervisor(steps, strategy="one_for_all", **often), type="supervisor"),
        ],
        strategy="rest_for_one",
        **often,
    )


async def client(rt: Runtime, stream: SocketStream) -> None:
    """One line in, one line out: the number under which it was accepted."""
    async with stream:
        lines = BufferedByteReceiveStream(stream)
        while True:
            try:
                message = (await lines.receive_until(b"\n", 10_000)).decode(errors="replace").strip()
                number = await rt.ref("desk").within(None).call(Desk.submit, message)
                await stream.send(f"accepted {number}\n".encode())
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                return
            except (Closed, ActorError, anyio.DelimiterNotFound):
                await stream.send(b"not accepted\n")
                return


async def main(port: int, make_lm: Callable[[], Any]) -> None:
    cases = Cases()

    def file(case: Case) -> None:
        print(f"filed {case.number}  {case.mood}  {case.reply}", flush=True)

    async with open_runtime() as rt:
        await rt.start(root(cases, make_lm, file), name="root")
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
            async with listener, anyio.create_task_group() as group:
                group.start_soon(partial(listener.serve, partial(client, rt)))
                print(f"listening on {listener.extra(SocketAttribute.local_port)}", flush=True)
                async for _ in signals:
                    break
                print("told to stop", flush=True)
                with anyio.move_on_after(GRACE):
                    await rt.ref("desk").within(None).call(Desk.drain)
                group.cancel_scope.cancel()
    print(f"stopped; {len(cases)} cases are open", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, default=7070)
    parser.add_argument("--model", default="openai/gpt-4o-mini")
    parser.add_argument("--api-base", help="the address of an OpenAI-compatible server; default: the provider's own")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    options = parser.parse_args()

    def lm() -> LM:
        return LM(options.model, api_base=options.api_base, cache=False)

    anyio.run(main, options.port, lm, backend=options.backend)
