"""The tree of an app: which children, in which order, and who owns which connection.

Model, host's LM, programs, pool, router, tasks: each before those that need it, so the tree stops in the other direction.
Every LM client belongs to one child, which closes it; none is shared, since one that stops would cut another's requests.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, final

from ..engine import LM, Price
from ..engine.actors import ProgramActor
from ..engine.lm.local import LocalModel, LocalModelSpec
from ..legacy import LegacyPool, LMSettings, PoolOptions, legacy_pool_spec, worker_names
from ..runtime import Runtime
from ..supervisors import Child, Supervisor, TaskSupervisor
from .book import Book
from .control import ControlServer
from .control_status import ControlDesk
from .explain import FeaturesOf
from .flags import FlagStore
from .host_lm import HostLM, answer
from .open_feature import Chooser
from .programs import ProgramSpec
from .request import RoutedProgram
from .router import ARMS, router_children
from .shadow import ShadowOptions

POOL: Final = "legacy.pool"
"""The registered name of the pool."""

TASKS: Final = "dspex.tasks"
"""The registered name of the supervisor of ``map``'s tasks."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AppTree:
    """All that a tree is made of; made again for each start."""

    programs: Mapping[str, ProgramSpec]
    flags: FlagStore
    book: Book
    lm: LMSettings | None
    local: LocalModelSpec | None
    pool: PoolOptions | None
    workers: int
    host_lm: bool
    chooser: Chooser | None
    shadow: ShadowOptions | None
    journal: str | os.PathLike[str] | None
    prices: Mapping[str, Price] | None
    beside: tuple[Child, ...]
    control: ControlDesk
    intensity: int
    period: float

    def supervisor(self) -> Supervisor:
        """The tree, not started."""
        children = list(self.beside)
        if self.local is not None:
            children.append(Child("model", partial(LocalModel, self.local), shutdown=5))
        children += [self._native(spec) for spec in self.programs.values() if spec.native is not None]
        children += self._legacy()
        children += router_children(
            [routed(spec) for spec in self.programs.values()],
            self.flags,
            chooser=self.chooser,
            shadow=self.shadow,
            journal=self.journal,
            book=self.book,
            prices=self.prices,
        )
        children.append(Child("tasks", TaskSupervisor, type="supervisor", name=TASKS))
        if self.control.path is not None:
            children.append(Child("control", partial(ControlServer, self.control)))
        return Supervisor(children, strategy="one_for_one", intensity=self.intensity, period=self.period)

    def is_up(self, rt: Runtime) -> bool:
        """Whether every part that a request may need is alive, and a worker can take one."""
        names = ["router", *ARMS.values()]
        names += [native_name(spec.name) for spec in self.programs.values() if spec.native is not None]
        if not all(rt.ref(name).alive for name in names):
            return False
        if all(spec.legacy is None for spec in self.programs.values()):
            return True
        pool = rt.whereis(POOL)
        return pool is not None and isinstance(pool.process.host, LegacyPool) and pool.process.host.ready_workers > 0

    def processes(self) -> list[str]:
        """The registered names of the actors that requests pass through."""
        names = ["router", *ARMS.values(), "ledger", "shadow"]
        names += [native_name(spec.name) for spec in self.programs.values() if spec.native is not None]
        options = self.pool_options()
        return names if options is None else [*names, POOL, *worker_names(POOL.rpartition(".")[0], options)]

    def pool_options(self) -> PoolOptions | None:
        """The pool's, with the programs that have a legacy side; None: none has."""
        programs = {spec.name: spec.legacy for spec in self.programs.values() if spec.legacy is not None}
        if not programs:
            return None
        if self.pool is None:
            return PoolOptions(programs, lm=self.lm, workers=self.workers)
        return replace(self.pool, programs=programs, lm=self.lm or self.pool.lm)

    def _legacy(self) -> list[Child]:
        options = self.pool_options()
        if options is None:
            return []
        pool = POOL.rpartition(".")[0]
        host = self._native_lm() if self.host_lm else None
        if host is None:
            return [legacy_pool_spec(options, name=pool)]
        options = replace(options, lm=_without_key(options.lm), lm_server=partial(answer, host))
        return [Child("host-lm", partial(HostLM, host)), legacy_pool_spec(options, name=pool)]

    def _native(self, spec: ProgramSpec) -> Child:
        make = spec.native
        assert make is not None
        name = native_name(spec.name)
        # One each: an actor that ends closes its connections, and must not close another's.
        lm = self._native_lm()
        counted = self.prices is not None
        return Child(
            name,
            lambda: ProgramActor(make(), concurrency=spec.concurrency, lm=lm, track_usage=counted),
            name=name,
        )

    def _native_lm(self) -> LM | None:
        lm = self.lm
        if lm is None:
            return None
        options: dict[str, Any] = dict(lm.options)
        return LM(lm.model, api_base=lm.api_base, api_key=lm.api_key, cache=lm.cache, **options)

    def lm_of_jobs(self) -> LM | None:
        """The model for an optimizer's job, with its price, so that a budget can be in dollars; None: there is none."""
        lm = self._native_lm()
        price = None if lm is None or self.prices is None else self.prices.get(lm.model)
        return lm if lm is None or price is None else lm.copy(price=price)


def routed(spec: ProgramSpec) -> RoutedProgram:
    """Where the sides of a program are found in the tree."""
    return RoutedProgram(
        spec.name,
        native=native_name(spec.name) if spec.native is not None else None,
        legacy=POOL if spec.legacy is not None else None,
        features=FeaturesOf(spec),
    )


def native_name(program: str) -> str:
    """The registered name of a program's native actor."""
    return f"native.{program}"


def _without_key(lm: LMSettings | None) -> LMSettings | None:
    return replace(lm, api_key=None, api_base=None, host=True) if lm is not None else None
