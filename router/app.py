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
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, final

from ..engine import LM, Price
from ..engine.actors import ProgramActor
from ..engine.lm.local import LocalModel, LocalModelSpec
from ..legacy import LegacyPool, LMSettings, PoolOptions, legacy_pool_spec
from ..runtime import ActorExit, CallTimeout, Exited, NamedRef, Runtime, current_runtime, open_runtime
from ..supervisors import Child, Node, Supervisor, TaskSupervisor, tree
from .errors import AppClosed, BadProgram, UnknownProgram
from .explain import explain, with_next
from .explanation import Explanation
from .flags import Flags, FlagStore
from .host_lm import HostLM, answer
from .ledger import Book, Ledger
from .open_feature import Chooser
from .programs import ProgramSpec
from .request import Answer, Engine, RoutedProgram
from .requirement import Requirement
from .rollback import RollbackPolicy
from .router import Router, router_children
from .shadow import ShadowOptions
from .statistics import ArmStatistics

TIMEOUT: Final = 60.0
"""Seconds that a request gets unless the call says otherwise."""

_ROOT: Final = "dspex"
_POOL: Final = "legacy"
_TASKS: Final = "dspex.tasks"


@final
@dataclass(frozen=True, slots=True)
class AppStatistics:
    """What has been served since the app was made."""

    programs: Mapping[str, Mapping[Engine, ArmStatistics]]
    """By program, then by engine; programs that nobody has asked are missing."""

    @property
    def requests(self) -> int:
        """All requests that somebody waited for, on either engine."""
        return sum(arm.requests - arm.shadowed for arms in self.programs.values() for arm in arms.values())

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "requests": self.requests,
            "native_share": self.native_share,
            "programs": {
                name: {engine: arm.to_dict() for engine, arm in arms.items()} for name, arms in self.programs.items()
            },
        }

    @property
    def native_share(self) -> float | None:
        """The share of them that was given to the native engine, 0 to 1; None before the first."""
        native = sum(
            arm.requests - arm.shadowed
            for arms in self.programs.values()
            for engine, arm in arms.items()
            if engine == "native"
        )
        return native / self.requests if self.requests else None


@final
class Dspex:
    """Programs behind one router. May be opened again after it was left; then it starts anew, with the flags as they are.

    Raises BadProgram for two programs of one name, and BadFlags for flags that speak of programs there are not.
    """

    def __init__(
        self,
        programs: Iterable[ProgramSpec],
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
        prices: Mapping[str, Price] | None = None,
        beside: Iterable[Child] = (),
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
            prices: what the models cost, by the name that they are given in ``lm``: requests can then be routed by
                cost, and `stats` tells it. Tokens are counted natively only if this is given.
            beside: children of your own, started before everything else: a ``FlagFile``, for example.
            intensity: restarts in ``period`` seconds that the tree bears before it gives up; a worker process that dies
                is the pool's affair and does not count.
        """
        self._programs = {spec.name: spec for spec in self._unique(programs)}
        given = flags if isinstance(flags, FlagStore) else FlagStore(flags, programs=self._programs)
        self.flags = given
        """The flags that hold; change them at any time."""
        self._local = local
        if lm is None and local is not None:
            lm = LMSettings(f"openai/{local.name}", api_base=local.base_url, api_key="local", cache=False)
        self._lm = lm
        self._pool = pool
        self._workers = workers
        if host_lm and lm is None:
            raise ValueError("host_lm=True needs a model: give lm= or local=")
        self._host_lm = host_lm
        self._chooser = chooser
        self._shadow = shadow
        self._journal = journal
        self._book = Book(rollback)
        self._prices = prices
        self._explained: dict[str, Explanation] = {}
        self._beside = tuple(beside)
        self._intensity = intensity
        self._period = period
        self._rt: Runtime | None = None
        self._block: AbstractAsyncContextManager[Runtime] | None = None

    @staticmethod
    def _unique(programs: Iterable[ProgramSpec]) -> list[ProgramSpec]:
        listed = list(programs)
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
        children = list(self._beside)
        if self._local is not None:
            children.append(Child("model", lambda: LocalModel(self._local), shutdown=5))
        for spec in self._programs.values():
            if spec.native is not None:
                children.append(self._native(spec))
        pool = self._pool_options()
        if pool is not None:
            host = self._native_lm() if self._host_lm else None
            if host is not None:
                pool = replace(pool, lm=_without_key(pool.lm), lm_server=partial(answer, host))
                children.append(Child("host-lm", lambda: HostLM(host)))
            children.append(legacy_pool_spec(pool, name=_POOL))
        routed = [
            RoutedProgram(
                spec.name,
                native=_native_name(spec.name) if spec.native is not None else None,
                legacy=f"{_POOL}.pool" if spec.legacy is not None else None,
                features=partial(self._features_of, spec),
            )
            for spec in self._programs.values()
        ]
        children += router_children(
            routed,
            self.flags,
            chooser=self._chooser,
            shadow=self._shadow,
            journal=self._journal,
            book=self._book,
            prices=self._prices,
        )
        children.append(Child("tasks", TaskSupervisor, type="supervisor", name=_TASKS))
        return Supervisor(children, strategy="one_for_one", intensity=self._intensity, period=self._period)

    def child(self, id: str = _ROOT) -> Child:
        """The same tree as a child of a supervisor of your own. Calls work as soon as it has started."""
        return Child(id, self._supervised, type="supervisor", name=_ROOT)

    def _supervised(self) -> Supervisor:
        self._rt = current_runtime()
        return self.supervisor()

    def _native(self, spec: ProgramSpec) -> Child:
        make = spec.native
        assert make is not None
        name = _native_name(spec.name)
        # One each: an actor that ends closes its connections, and must not close another's.
        lm = self._native_lm()
        counted = self._prices is not None
        return Child(
            name,
            lambda: ProgramActor(make(), concurrency=spec.concurrency, lm=lm, track_usage=counted),
            name=name,
        )

    def _features_of(self, spec: ProgramSpec) -> frozenset[str] | None:
        """Looked up when a flag first speaks of features: a program is made for it, and its source read. None: nothing was
        found, and every program has something."""
        return self._explanation(spec).features or None

    def _explanation(self, spec: ProgramSpec) -> Explanation:
        if spec.name not in self._explained:
            self._explained[spec.name] = explain(spec)
        return self._explained[spec.name]

    def _native_lm(self) -> LM | None:
        lm = self._lm
        if lm is None:
            return None
        options: dict[str, Any] = dict(lm.options)
        return LM(lm.model, api_base=lm.api_base, api_key=lm.api_key, cache=lm.cache, **options)

    def _pool_options(self) -> PoolOptions | None:
        programs = {spec.name: spec.legacy for spec in self._programs.values() if spec.legacy is not None}
        if not programs:
            return None
        if self._pool is None:
            return PoolOptions(programs, lm=self._lm, workers=self._workers)
        return replace(self._pool, programs=programs, lm=self._lm or self._pool.lm)

    # --- its life -----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start the tree. Returns when the native side can be asked; workers import dspy meanwhile (``wait_ready``)."""
        if self._rt is not None:
            raise AppClosed("this app is open already: one object is one running app")
        block = open_runtime()
        rt = await block.__aenter__()
        self._rt, self._block = rt, block
        try:
            await rt.start(self.supervisor(), name=_ROOT)
        except BaseException as error:
            self._rt = self._block = None
            await block.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Stop it: requests in flight are cancelled, workers ended, connections closed; nothing is left behind."""
        block, self._block, self._rt = self._block, None, None
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
        options = self._pool_options()
        if options is not None:
            pool: NamedRef[LegacyPool] = self._running.ref(f"{_POOL}.pool")
            await pool.within(within).call(LegacyPool.wait_ready, options.workers)

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
        rt = self._running
        asked_at = rt.now()
        deadline = None if within is None else asked_at + within
        router: NamedRef[Router] = rt.ref("router")
        asked = {**(inputs or {}), **fields}
        while True:
            target = router.until(deadline).resolve()
            if target is not None:
                try:
                    return await target.call(
                        Router.run, program, asked, key=key, engine=engine, require=require, asked_at=asked_at
                    )
                except ActorExit as error:
                    if error.who != target.label:
                        raise  # it was in an arm's hands
            await self._next_router(router, deadline)

    async def _next_router(self, router: NamedRef[Router], deadline: float | None) -> None:
        rt = self._running
        while not router.alive:
            if deadline is not None and rt.now() >= deadline:
                raise CallTimeout("router", 0.0)
            # In a tree of somebody else's the whole app may be on its way back.
            if not rt.kernel.processes or (self._block is not None and rt.whereis(_ROOT) is None):
                raise AppClosed("this app has stopped")
            await rt.sleep(0.005)

    async def map(
        self,
        program: str,
        inputs: Iterable[Mapping[str, object]],
        *,
        concurrency: int = 8,
        within: float | None = TIMEOUT,
    ) -> AsyncGenerator[Answer]:
        """Ask for each of the inputs, at most ``concurrency`` at a time; answers come in the order of the inputs.

        Inputs are taken as they are needed. The first error is raised and ends the rest. ``within`` is in seconds, for
        each request. Who leaves the loop early closes it (``aclosing``), which ends what is under way.
        """

        async def one(asked: Mapping[str, object]) -> Answer | Exception:
            try:
                return await self.call(program, asked, within=within)
            except Exception as error:  # a value here: it is raised at the reader, not a crash of the task
                return error

        tasks: NamedRef[TaskSupervisor] = self._running.ref(_TASKS)
        async with TaskSupervisor.stream(tasks, one, inputs, max_concurrency=concurrency, timeout=None) as results:
            async for result in results:
                if isinstance(result, Exited):
                    raise ActorExit(result.reason, f"a task of map({program!r})")
                if isinstance(result.value, Exception):
                    raise result.value
                yield result.value

    # --- looking ------------------------------------------------------------------------------------------------

    @property
    def _running(self) -> Runtime:
        if self._rt is None:
            raise AppClosed("this app is not running: use it inside `async with app`, or start `app.child()` in a tree")
        return self._rt

    @property
    def runtime(self) -> Runtime:
        """The runtime it runs in: for its events, its clock, and actors of your own beside it."""
        return self._running

    def tree(self) -> Node:
        """What runs now; prints as a tree."""
        root = self._running.whereis(_ROOT)
        return tree(root if root is not None else self._running)

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
        routed = RoutedProgram(
            program,
            native=None if spec.native is None else _native_name(program),
            legacy=None if spec.legacy is None else f"{_POOL}.pool",
            features=partial(self._features_of, spec),
        )
        return with_next(
            self._explanation(spec),
            routed,
            self.flags.current,
            key=key,
            chosen=None if self._chooser is None else self._chooser.choose(program, key),
            require=None if require is None else Requirement.parse(require),
            measured=self._book.measured,
        )

    def counted(self) -> AppStatistics:
        """As ``stats``, but what has been counted by now, without asking an actor; for who cannot wait."""
        return AppStatistics(self._book.statistics())

    async def stats(self) -> AppStatistics:
        """Counts, error rates and latencies by program and engine, of everything that was answered before."""
        ledger: NamedRef[Ledger] = self._running.ref("ledger")
        return AppStatistics(await ledger.call(Ledger.statistics))


def _without_key(lm: LMSettings | None) -> LMSettings | None:
    return replace(lm, api_key=None, api_base=None, host=True) if lm is not None else None


def _native_name(program: str) -> str:
    return f"native.{program}"
