"""A hypothesis state machine drives random trees and crashes, on both loops under virtual time. It checks at rest:

* no child of a dead supervisor lives;
* children are started in the order of their specs, and listed in it;
* no supervisor restarts more often within its period than its intensity, unless it gave up;
* every call is answered exactly once, with a value or an error.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from dspex.runtime import (
    KILL,
    SHUTDOWN,
    Actor,
    ActorError,
    Event,
    Ref,
    Runtime,
    Shutdown,
    open_runtime,
)
from dspex.runtime.testing import all_tasks_blocked, virtual_backend
from dspex.supervisors import Child, Supervisor, SupervisorError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

Job = Callable[[], Coroutine[Any, Any, None]]

PERIOD = 5

REASONS_TO_RESTART = ("supervisor.child.terminated", "supervisor.child.start_failed")


class Worker(Actor):
    def __init__(self, trap: bool) -> None:
        self.trap = trap

    async def init(self) -> None:
        self.trap_exits(self.trap)

    async def echo(self, value: int) -> int:
        return value

    async def slow(self, value: int) -> int:
        await self.rt.sleep(0.5)
        return value

    def crash(self) -> None:
        raise ValueError("boom")

    def leave(self, reason: object) -> None:
        self.stop(reason)


class Node(Supervisor):
    escalates = False


class Interpreter:
    """Runs one random history inside a runtime, and keeps what it takes to judge it."""

    def __init__(self, rt: Runtime, tree: Any) -> None:
        self.rt = rt
        self.asked = 0
        self.answered: Counter[int] = Counter()
        self.restarts: dict[str, list[float]] = {}
        self.gave_up: set[str] = set()
        self.intensity: dict[str, int] = {}
        self.started: dict[str, list[int]] = {}
        """By supervisor, the place of the child that was started last, if nothing else happened since."""
        self.ready: set[str] = set()
        """Supervisors whose init is over: what fails in it is not tried again."""
        self.together: set[str] = set()
        """Supervisors that restart several children at once, and so in order."""
        self.managed: set[str] = set()
        """Supervisors that were told which child to start: in no order of theirs."""
        self.nodes: list[Ref[Any]] = []
        self.workers: dict[str, None] = {}
        self.tree = tree
        self.faults: list[str] = []
        rt.events.subscribe(self.heard, prefix="supervisor.")

    def heard(self, event: Event) -> None:
        supervisor = event.data["supervisor"]
        if event.name == "supervisor.child.started":
            place = [int(part) for part in event.data["child"].split(".")[1:]]
            ordered = supervisor in self.together and event.data["child"].rpartition(".")[0] not in self.managed
            if ordered and place <= self.started.get(supervisor, []):
                self.faults.append(f"{supervisor} started {event.data['child']} too late")
            self.started[supervisor] = place
            return
        self.started.pop(supervisor, None)
        if event.name == "supervisor.gave_up":
            self.gave_up.add(supervisor)
        # One restart is decided for every end that matters and for every restart that failed.
        elif supervisor in self.ready and event.name in REASONS_TO_RESTART:
            self.restarts.setdefault(supervisor, []).append(event.at)

    def make(self, spec: Any, path: str) -> Node:
        strategy, intensity, children = spec
        interpreter = self

        class Remembered(Node):
            async def init(self) -> None:
                interpreter.nodes.append(self.ref)
                interpreter.intensity[self.ref.label] = intensity
                if strategy != "one_for_one":
                    interpreter.together.add(self.ref.label)
                await super().init()
                interpreter.ready.add(self.ref.label)

        return Remembered(
            [self.child(one, f"{path}.{n}") for n, one in enumerate(children)],
            strategy=strategy,
            intensity=intensity,
            period=PERIOD,
        )

    def child(self, spec: Any, path: str) -> Child:
        if isinstance(spec, tuple):
            return Child(path, lambda: self.make(spec, path), type="supervisor", name=path)
        restart, trap = spec["restart"], spec["trap"]
        self.workers[path] = None
        return Child(path, lambda: Worker(trap), restart=restart, name=path)

    async def start(self) -> None:
        await self.rt.start(self.make(self.tree, "r"), name="r")

    def ask(self, path: str, slow: bool) -> None:
        """Call from a task of its own; what comes back is counted when it comes."""
        number = self.asked
        self.asked += 1

        async def call() -> None:
            try:
                method = Worker.slow if slow else Worker.echo
                value = await self.rt.ref(path).within(2).call(method, number)
                if value != number:
                    self.faults.append(f"call {number} got the answer {value}")
            except ActorError:
                pass
            self.answered[number] += 1

        self.group.start_soon(call)

    group: anyio.abc.TaskGroup

    # --- what must hold ------------------------------------------------------------------------------------------

    def check(self) -> None:
        waiting = self.asked > sum(self.answered.values())
        for process in self.rt.kernel.processes:
            if waiting and process.trap and isinstance(process.host, Worker):
                continue  # perhaps busy with a slow call: it hears of its supervisor's end after that
            parent = process.parent
            if isinstance(process.host, Worker | Node) and parent is not None and parent.gone:
                self.faults.append(f"{process} lives, its supervisor {parent} is dead")
        for ref in self.nodes:
            host = ref.process.host
            if isinstance(host, Node):
                ids = [record.spec.id for record in host.records]
                if ids != sorted(ids, key=lambda id: [int(part) for part in id.split(".")[1:]]):
                    self.faults.append(f"{ref.label} lists {ids}")
        for supervisor, times in self.restarts.items():
            allowed = self.intensity[supervisor]
            for i, first in enumerate(times):
                # OTP counts in whole seconds, the edge included: within a period of them none may be one too many.
                window = [at for at in times[i:] if int(at) - int(first) <= PERIOD]
                if len(window) > allowed and supervisor not in self.gave_up:
                    self.faults.append(f"{supervisor} restarted {len(window)} times, allowed are {allowed}")
        assert not self.faults, "\n".join(self.faults)


worker = st.fixed_dictionaries(
    {"restart": st.sampled_from(["permanent", "transient"]), "trap": st.booleans()}
)
strategy = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
trees = st.tuples(
    strategy,
    st.integers(1, 6),
    st.lists(
        st.one_of(worker, st.tuples(strategy, st.integers(0, 3), st.lists(worker, min_size=1, max_size=3))),
        min_size=1,
        max_size=4,
    ),
)
reasons = st.sampled_from(["boom", SHUTDOWN, Shutdown("x"), KILL])


class RandomTrees(RuleBasedStateMachine):
    """Collects a history rule by rule and runs it at the end, in a runtime of its own: rules are not async."""

    backend = "asyncio"

    def __init__(self) -> None:
        super().__init__()
        self.tree: Any = None
        self.history: list[Callable[[Interpreter], object]] = []
        self.paths: list[str] = []
        self.nodes: list[str] = []

    @initialize(tree=trees)
    def plant(self, tree: Any) -> None:
        self.tree = tree
        for n, child in enumerate(tree[2]):
            if isinstance(child, tuple):
                self.nodes.append(f"r.{n}")
                self.paths += [f"r.{n}.{m}" for m in range(len(child[2]))]
            else:
                self.paths.append(f"r.{n}")

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(self.paths))
        self.history.append(lambda it: it.rt.ref(path).cast(Worker.crash))

    @rule(data=st.data(), reason=reasons)
    def leave(self, data: st.DataObject, reason: object) -> None:
        path = data.draw(st.sampled_from(self.paths))
        self.history.append(lambda it: it.rt.ref(path).cast(Worker.leave, reason))

    @rule(data=st.data(), slow=st.booleans())
    def call(self, data: st.DataObject, slow: bool) -> None:
        path = data.draw(st.sampled_from(self.paths))
        self.history.append(lambda it: it.ask(path, slow))

    @rule(data=st.data(), reason=reasons)
    def signal(self, data: st.DataObject, reason: object) -> None:
        path = data.draw(st.sampled_from(self.paths))

        def send(it: Interpreter) -> None:
            ref = it.rt.whereis(path)
            if ref is not None:
                ref.exit(reason)

        self.history.append(send)

    @precondition(lambda self: self.nodes)
    @rule(data=st.data())
    def kill_a_supervisor(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(self.nodes))

        def kill(it: Interpreter) -> None:
            ref = it.rt.whereis(path)
            if ref is not None:
                ref.kill()

        self.history.append(kill)

    @rule(data=st.data(), what=st.sampled_from(["terminate_child", "restart_child"]))
    def manage(self, data: st.DataObject, what: str) -> None:
        path = data.draw(st.sampled_from([*self.paths, *self.nodes]))

        def do(it: Interpreter) -> None:
            above = path.rpartition(".")[0]
            it.managed.add(above)

            async def call() -> None:
                with contextlib.suppress(ActorError, SupervisorError):
                    await it.rt.ref(above).within(60).call(getattr(Supervisor, what), path)

            it.group.start_soon(call)

        self.history.append(do)

    @rule(seconds=st.sampled_from([0.3, 2.0, 7.0]))
    def wait(self, seconds: float) -> None:
        self.history.append(lambda it: it.rt.sleep(seconds))

    @rule()
    def settle(self) -> None:
        self.history.append(lambda it: all_tasks_blocked())

    def teardown(self) -> None:
        if self.tree is None:
            return
        name, options = virtual_backend(self.backend)
        anyio.run(self.judge, backend=name, backend_options=options)

    async def judge(self) -> None:
        async with open_runtime() as rt:
            it = Interpreter(rt, self.tree)
            async with anyio.create_task_group() as it.group:
                await it.start()
                for step in self.history:
                    outcome = step(it)
                    if isinstance(outcome, Coroutine):
                        await outcome
                        await all_tasks_blocked()
                        it.check()
                await rt.sleep(30)
            it.check()
            assert it.answered == Counter(range(it.asked))
            top = rt.whereis("r")
        if top is not None:
            assert not top.alive
        assert not rt.kernel.processes


def limits() -> settings:
    return settings(
        max_examples=75,
        stateful_step_count=20,
        deadline=None,
        derandomize=True,
        # Shrinking may take minutes. To look into a failure, take this line out.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


class OnAsyncio(RandomTrees):
    pass


class OnTrio(RandomTrees):
    backend = "trio"


TestOnAsyncio = OnAsyncio.TestCase
TestOnTrio = OnTrio.TestCase
TestOnAsyncio.settings = TestOnTrio.settings = limits()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_judge_notices_an_orphan(backend: str) -> None:
    """A judge that cannot say no is none: an actor whose parent is dead is found."""

    async def scenario() -> None:
        async with open_runtime() as rt:
            it = Interpreter(rt, ("one_for_one", 1, [{"restart": "permanent", "trap": False}]))
            await it.start()
            child = rt.whereis("r.0")
            top = rt.whereis("r")
            assert child is not None
            assert top is not None
            child.process.unlink(top.process)
            top.kill()
            await all_tasks_blocked()
            with pytest.raises(AssertionError, match=r"lives, its supervisor .* is dead"):
                it.check()

    name, options = virtual_backend(backend)
    anyio.run(scenario, backend=name, backend_options=options)
