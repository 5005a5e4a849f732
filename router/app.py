"""`Dspex`: the whole of it as one object: programs, engines, flags, and the tree that keeps them alive.

    app = Dspex(
        [ProgramSpec.of_signature("qa", "question -> answer", module="ChainOfThought", idempotent=True)],
        lm=LMSettings("openai/gpt-4o-mini"),
        flags=FlagStore(Flags(native_percent={"qa": 10})),
    )
    async with app:
        answer = await app.call("qa", question="Why?", key="user-7")
        print(answer["answer"], answer.route.engine)

It is an async context manager; ``app.lifespan`` is what Starlette and FastAPI take; ``app.child()`` puts the same tree
into a supervisor of your own. A program without a legacy side starts no worker: without dspy installed, everything native
is served.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast, final, overload

from ..engine import Budget, Example, JobStatus, Price, TrialPolicy
from ..engine.lm import BaseLM
from ..engine.lm.local import LocalModelSpec
from ..legacy import LegacyPool, LMSettings, PoolOptions
from ..runtime import ActorExit, Exited, NamedRef, Ref, Runtime, current_runtime, open_runtime
from ..supervisors import Child, Node, Supervisor, TaskSupervisor, tree
from .answer_stream import AnswerStream
from .app_statistics import AppStatistics
from .app_tree import POOL, TASKS, AppTree, routed
from .book import Book
from .control_rates import ArmKey, Count
from .control_status import ControlDesk
from .door import ROOT, Door
from .errors import AppClosed, BadProgram, UnknownField, UnknownProgram
from .explain import explain_next
from .explanation import Explanation
from .flags import Flags, FlagStore
from .handles import TIMEOUT, Handle, TypedHandle
from .ledger import Ledger
from .legacy_optimizer import LEGACY_ONLY
from .open_feature import Chooser
from .optimization import Optimized, optimize
from .programs import ProgramSpec, outputs_of
from .request import Answer, Engine
from .requirement import Requirement
from .rollback import RollbackPolicy
from .shadow import ShadowOptions
from .telemetry import OpenTelemetry
from .telemetry_metrics import register
from .typed_programs import TypedProgram

P = ParamSpec("P")
T = TypeVar("T")

_nothing = nullcontext[None]


@final
class Dspex:
    """Programs behind one router. May be opened again after it was left; then it starts anew, with the flags as they are.

    Raises BadProgram for two programs of one name, and BadFlags for flags that speak of programs there are not.
    """

    def __init__(
        self,
        programs: Iterable[ProgramSpec | TypedProgram[..., Any]],
        *,
        lm: LMSettings | None = None,
        local: LocalModelSpec | None = None,
        flags: FlagStore | Flags | None = None,
        pool: PoolOptions | None = None,
        workers: int = 2,
        host_lm: bool = False,
        chooser: Chooser | None = None,
        shadow: ShadowOptions | None = None,
        journal: str | os.PathLike[str] | None = None,
        rollback: RollbackPolicy | None = None,
        telemetry: OpenTelemetry | None = None,
        prices: Mapping[str, Price] | None = None,
        beside: Iterable[Child] = (),
        control: str | os.PathLike[str] | None = None,
        intensity: int = 3,
        period: float = 5.0,
    ) -> None:
        """Describe the app; nothing is started.

        Args:
            lm: the model that both engines ask. With ``local`` it may be left out. Without either, the native engine
                uses the one of ``engine.configure`` and the workers need one in their programs.
            local: a model on this machine, served by a child of the tree.
            pool: everything else about the workers; its programs and model are replaced by those given here.
            workers: their number, where ``pool`` is not given.
            host_lm: the workers' calls to the model are made by this process: they get no key, and cache, limits and
                connections are shared with the native side.
            telemetry: spans of requests, programs, models and tools, on either engine, and metrics; None: nothing is
                traced, and nothing is paid for it.
            prices: what the models cost, by the name that they are given in ``lm``: requests can then be routed by
                cost, and `stats` tells it. Tokens are counted natively only if this is given.
            beside: children of your own, started before everything else: a ``FlagFile``, for example.
            control: the path of a socket in a folder of your own (0700), through which `dspex status` and `dspex flags`
                reach the running app. An app that cannot have it does not start: the reason of its StartFailed is a
                ControlUnavailable, or ControlTaken.
            intensity: restarts in ``period`` seconds that the tree bears before it gives up; a worker process that dies
                is the pool's affair and does not count.
        """
        self._programs = {spec.name: spec for spec in self._unique(programs)}
        given = flags if isinstance(flags, FlagStore) else FlagStore(flags, programs=self._programs)
        self.flags = given
        """The flags that hold; change them at any time."""
        if lm is None and local is not None:
            lm = LMSettings(f"openai/{local.name}", api_base=local.base_url, api_key="local", cache=False)
        if host_lm and lm is None:
            raise ValueError("host_lm=True needs a model: give lm= or local=")
        self._book = Book(rollback)
        self._desk = ControlDesk(
            None if control is None else os.fspath(control),
            given,
            {name: _engines(spec) for name, spec in self._programs.items()},
            counted=self.counted,
            counts=self._counts,
            phase=self._phase,
            root=self.tree,
        )
        self._tree = AppTree(
            programs=self._programs,
            flags=given,
            book=self._book,
            lm=lm,
            local=local,
            pool=pool,
            workers=workers,
            host_lm=host_lm,
            chooser=chooser,
            shadow=shadow,
            journal=journal,
            prices=prices,
            beside=tuple(beside),
            control=self._desk,
            intensity=intensity,
            period=period,
        )
        self._outputs: dict[str, tuple[str, ...] | None] = {}
        self._telemetry = telemetry
        self._door: Door | None = None
        if telemetry is not None:
            self._measured_by(telemetry)
        self._block: AbstractAsyncContextManager[Runtime] | None = None

    def _measured_by(self, telemetry: OpenTelemetry) -> None:
        """Instruments stay as long as their meter: they must not keep the app."""
        app = weakref.ref(self)

        def counted() -> AppStatistics | None:
            here = app()
            return here.counted() if here is not None else None

        def door() -> Door | None:
            here = app()
            return here._door if here is not None else None

        register(telemetry, counted, door, processes=self._tree.processes(), pool=POOL)

    @staticmethod
    def _unique(programs: Iterable[ProgramSpec | TypedProgram[..., Any]]) -> list[ProgramSpec]:
        listed = [program.spec if isinstance(program, TypedProgram) else program for program in programs]
        if not listed:
            raise BadProgram("", "an app needs at least one program")
        names = [spec.name for spec in listed]
        for name in names:
            if names.count(name) > 1:
                raise BadProgram(name, "two programs have this name")
        return listed

    # --- the tree -----------------------------------------------------------------------------------------------

    def supervisor(self) -> Supervisor:
        """The tree, as a supervisor: model, programs, pool, router."""
        return self._tree.supervisor()

    def child(self, id: str = ROOT) -> Child:
        """The same tree as a child of a supervisor of your own. Calls work as soon as it has started."""
        return Child(id, self._supervised, type="supervisor", name=ROOT)

    def _supervised(self) -> Supervisor:
        self._door = Door(current_runtime(), owned=False, telemetry=self._telemetry)
        return self.supervisor()

    # --- its life -----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start the tree. Returns when the native side can be asked; workers import dspy meanwhile (``wait_ready``)."""
        if self._door is not None:
            raise AppClosed("this app is open already: one object is one running app")
        block = open_runtime()
        rt = await block.__aenter__()
        self._door, self._block = Door(rt, owned=True, telemetry=self._telemetry), block
        try:
            await rt.start(self.supervisor(), name=ROOT)
        except BaseException as error:
            self._door = self._block = None
            await block.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Stop it: requests in flight are cancelled, workers ended, connections closed; nothing is left behind."""
        block, self._block, self._door = self._block, None, None
        assert block is not None
        return await block.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def lifespan(self, _: object) -> AsyncGenerator[None]:
        """For ``Starlette(lifespan=app.lifespan)`` and ``FastAPI(lifespan=app.lifespan)``."""
        async with self:
            yield

    async def wait_ready(self, *, within: float = TIMEOUT) -> None:
        """Return when all workers of the pool can serve; at once without a pool.

        Raises what keeps them from it: MissingLegacy, WorkerStartFailed; CallTimeout after ``within`` seconds.
        """
        options = self._tree.pool_options()
        if options is not None:
            pool: NamedRef[LegacyPool] = self.runtime.ref(POOL)
            await pool.within(within).call(LegacyPool.wait_ready, options.workers)

    @property
    def ready(self) -> bool:
        """Whether a request would be served now, for a readiness probe; read at once, nobody is asked.

        False before the app is open, while it drains and afterwards, while a part of it is being restarted, and, if a
        program has a legacy side, while not one worker has loaded dspy.
        """
        door = self._door
        return door is not None and not door.shut and self._tree.is_up(door.rt)

    async def drain(self, *, within: float | None = TIMEOUT) -> int:
        """Stop gracefully: take no more requests (AppDraining), let those under way finish, then stop the tree.

        ``within`` is in seconds; what has not finished then is cut off. Returns how many were: 0 in the good case.
        Called again, it waits as well. Leave the ``async with`` block afterwards; there is no way back but to open the
        app again. As a child of a tree of your own (``child``) the app stays there and refuses: stopping it is its
        supervisor's. Cancelled: it goes on refusing, and nothing was cut off.

        Raises ValueError or TypeError for no time; nothing has changed then.
        """
        door = self._open
        door.rt.ref("router").within(within)  # refuses what is no time
        door.shut = True
        await door.emptied(within)
        cut_off = door.inside
        root = door.rt.whereis(ROOT)
        if self._block is not None and root is not None:
            with suppress(ActorExit):  # somebody else has stopped it
                await root.stop()
        return cut_off

    # --- asking -------------------------------------------------------------------------------------------------

    async def call(
        self,
        program: str,
        inputs: Mapping[str, object] | None = None,
        /,
        *,
        within: float | None = TIMEOUT,
        key: str | None = None,
        engine: Engine | None = None,
        require: Requirement | str | None = None,
        **fields: object,
    ) -> Answer:
        """Ask a program; its inputs are ``fields``, or a mapping (for inputs called as an option is), or both.

        ``within`` is in seconds, end to end: waiting, running, falling back. ``key`` makes a rollout stick. ``engine``
        sends this one request there, whatever the flags say. ``require`` bounds its latency or cost, as in "p95<2s", and
        so may choose the engine (see ``Requirement``).

        A router that dies before it has handed the request on has run nothing of it: the request is given to its
        successor, within the same time. Everything else that goes wrong is raised: UnknownProgram, EngineMissing,
        ArmDown, CallTimeout, and what the engines raise. Cancelled: the work is cancelled where it is done.
        """
        asked = {**(inputs or {}), **fields}
        return await self._open.call(program, asked, within=within, key=key, engine=engine, require=require)

    def stream(
        self,
        program: str,
        inputs: Mapping[str, object] | None = None,
        /,
        *,
        listen: str | Iterable[str] | None = None,
        within: float | None = TIMEOUT,
        key: str | None = None,
        engine: Engine | None = None,
        require: Requirement | str | None = None,
        **fields: object,
    ) -> AnswerStream:
        """Ask a program and read its answer while it is written: ``FieldChunk`` pieces, and last the ``Answer``.

        ``listen`` names the output fields whose pieces are wanted; None: all that can be told apart. A field that comes
        all at once has no pieces: it is in the Answer. The rest is as in ``call``; ``within`` counts from the first
        read, which is when the program is asked. At most ``AHEAD`` pieces wait for a slow reader, then the model is
        read no further. Once a piece has come, no other engine is asked, and nothing is asked again: what goes wrong
        then is StreamBroken.

        Raises UnknownProgram, UnknownField, AppClosed, and ValueError or TypeError for a time that
        is none, here; everything else where it is read.
        """
        door = self._open
        door.rt.ref("router").within(within)  # refuses what is no time
        listened = self._listened(program, listen)
        asked = {**(inputs or {}), **fields}
        return AnswerStream(
            door, program, asked, listened, within=within, key=key, engine=engine, require=require
        )

    def _listened(self, program: str, listen: str | Iterable[str] | None) -> tuple[str, ...]:
        spec = self._programs.get(program) if isinstance(cast(object, program), str) else None
        if spec is None:
            raise UnknownProgram(program, self._programs)
        if program not in self._outputs:
            self._outputs[program] = outputs_of(spec)
        known = self._outputs[program]
        if listen is None:
            return known or ()
        names = (listen,) if isinstance(listen, str) else tuple(dict.fromkeys(listen))
        for name in names:
            if known is not None and name not in known:
                raise UnknownField(program, name, known)
        return names

    async def map(
        self,
        program: str,
        inputs: Iterable[Mapping[str, object]],
        *,
        concurrency: int = 8,
        within: float | None = TIMEOUT,
        key: str | None = None,
        engine: Engine | None = None,
        require: Requirement | str | None = None,
    ) -> AsyncGenerator[Answer]:
        """Ask for each of the inputs, at most ``concurrency`` at a time; answers come in the order of the inputs.

        Inputs are taken as they are needed. The first error is raised and ends the rest. ``within`` is in seconds, for
        each request; ``key``, ``engine`` and ``require`` are those of ``call``, for all of them. Who leaves the loop
        early closes it (``aclosing``), which ends what is under way.
        """
        here = _nothing if self._telemetry is None else self._telemetry.here()

        async def one(asked: Mapping[str, object]) -> Answer | Exception:
            try:
                with here():  # the tasks are actors, and know nothing of the caller's context
                    return await self.call(
                        program, asked, within=within, key=key, engine=engine, require=require
                    )
            except Exception as error:  # a value here: it is raised at the reader, not a crash of the task
                return error

        tasks: NamedRef[TaskSupervisor] = self.runtime.ref(TASKS)
        async with TaskSupervisor.stream(tasks, one, inputs, max_concurrency=concurrency, timeout=None) as results:
            async for result in results:
                if isinstance(result, Exited):
                    raise ActorExit(result.reason, f"a task of map({program!r})")
                if isinstance(result.value, Exception):
                    raise result.value
                yield result.value

    async def optimize(
        self,
        program: str,
        optimizer: str | Any,
        *,
        trainset: Sequence[Example],
        metric: Callable[..., Any] | None = None,
        valset: Sequence[Example] | None = None,
        options: Mapping[str, Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        lm: LMSettings | BaseLM | None = None,
        use_legacy_optimizer: bool | None = None,
        budget: Budget | None = None,
        journal: str | os.PathLike[str] | None = None,
        policy: TrialPolicy | None = None,
        on_progress: Callable[[JobStatus], object] | None = None,
    ) -> Optimized:
        """Optimize one of the programs with the model of the app, on the engine that ``use_legacy_optimizer`` of its flags
        says. What is served stays as it is: serve ``Optimized.spec`` in its place when you are content with it.

        Arguments and errors as ``optimize``, and UnknownProgram. While the app runs the job is an actor of its runtime:
        its events are there, and leaving the app ends it (ActorExit here). Else it has a runtime of its own.
        """
        spec = self._programs.get(program)
        if spec is None:
            raise UnknownProgram(program, self._programs)
        if lm is None:  # a worker that trains asks the model itself, from its settings
            lm = self._tree.lm if isinstance(optimizer, str) and optimizer in LEGACY_ONLY else self._tree.lm_of_jobs()
        return await optimize(
            spec,
            optimizer,
            trainset=trainset,
            metric=metric,
            valset=valset,
            options=options,
            arguments=arguments,
            lm=lm,
            flags=self.flags,
            use_legacy_optimizer=use_legacy_optimizer,
            budget=budget,
            journal=journal,
            policy=policy,
            pool=self._tree.pool,
            on_progress=on_progress,
            runtime=None if self._door is None else self._door.rt,
        )

    @overload
    def program(self, program: str, /) -> Handle: ...
    @overload
    def program(self, program: TypedProgram[P, T], /) -> TypedHandle[P, T]: ...
    def program(self, program: str | TypedProgram[P, T], /) -> Handle | TypedHandle[P, T]:
        """One of the programs, to ask it without its name; typed, if it was given with types. Raises UnknownProgram."""
        name = program if isinstance(program, str) else program.spec.name
        spec = self._programs.get(name)
        if spec is None or not (isinstance(program, str) or program.spec is spec):
            raise UnknownProgram(name, self._programs)
        return Handle(self, name) if isinstance(program, str) else TypedHandle(self, program)

    # --- looking ------------------------------------------------------------------------------------------------

    @property
    def _open(self) -> Door:
        if self._door is None:
            raise AppClosed("this app is not running: use it inside `async with app`, or start `app.child()` in a tree")
        return self._door

    @property
    def runtime(self) -> Runtime:
        """The runtime it runs in: for its events, its clock, and actors of your own beside it."""
        return self._open.rt

    def tree(self) -> Node:
        """What runs now; prints as a tree."""
        root = self.runtime.whereis(ROOT)
        return tree(root if root is not None else self.runtime)

    def explain(
        self, program: str, *, key: str | None = None, require: Requirement | str | None = None
    ) -> Explanation:
        """What of a program runs where and why, and what the flags of now would do with its next request.

        ``key``, ``require``: of that request; without a key, a rollout's share is drawn. Nothing is sent or run. Works
        also while the app is not running.

        Raises UnknownProgram.
        """
        spec = self._programs.get(program)
        if spec is None:
            raise UnknownProgram(program, self._programs)
        return explain_next(
            spec,
            routed(spec),
            self.flags.current,
            key=key,
            chooser=self._tree.chooser,
            require=None if require is None else Requirement.parse(require),
            measured=self._book.measured,
        )

    def counted(self) -> AppStatistics:
        """As ``stats``, but what has been counted by now, without asking an actor; for who cannot wait."""
        return AppStatistics(self._book.statistics())

    @property
    def control(self) -> str | None:
        """The path of its control socket; None: it has none. May be set while the app is not open (AppClosed)."""
        return self._desk.path

    @control.setter
    def control(self, path: str | os.PathLike[str] | None) -> None:
        if self._door is not None:
            raise AppClosed("this app is open already: name its control socket before it starts")
        self._desk.path = None if path is None else os.fspath(path)

    def _counts(self) -> Mapping[ArmKey, Count]:
        return {arm: Count(counter.requests, counter.failed) for arm, counter in self._book.arms.items()}

    @property
    def under_way(self) -> int:
        """Requests that are inside now; 0 while the app is not open."""
        return 0 if self._door is None else self._door.inside

    def _phase(self) -> tuple[str, int]:
        return "draining" if self._open.shut else "ready" if self.ready else "not ready", self.under_way

    async def stats(self) -> AppStatistics:
        """Counts, error rates and latencies by program and engine, of everything that was answered before.

        They are there also while it drains, and afterwards.
        """
        ledger: Ref[Ledger] | None = self.runtime.ref("ledger").resolve()
        if ledger is not None:
            with suppress(ActorExit):  # being restarted, or stopped: the book outlives it
                return AppStatistics(await ledger.call(Ledger.statistics))
        return self.counted()


def _engines(spec: ProgramSpec) -> tuple[str, ...]:
    sides = {"native": spec.native, "legacy": spec.legacy}
    return tuple(engine for engine, side in sides.items() if side is not None)
