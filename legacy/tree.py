"""A pool as a supervision tree: one supervisor over the pool and its workers.

    legacy
    ├── pool           registered as legacy.pool: the one to call
    ├── warden         registered as legacy.warden: the process that forks the workers (where workers are forked)
    ├── worker-1       registered as legacy.worker-1, one process
    └── worker-2

Start it at the top with `start_legacy_pool`, or put `legacy_pool_spec` among the children of a supervisor of your own.
"""

from __future__ import annotations

from ..runtime import Crash, NamedRef, Runtime, Shutdown, StartFailed
from ..supervisors import Child, FailedToStart, Supervisor
from .errors import LegacyError, MissingLegacy
from .pool import LegacyPool
from .slots import Slots
from .specs import PoolOptions, worker_names
from .warden_actor import WardenActor
from .worker_actor import WorkerActor

__all__ = ["legacy_pool_spec", "legacy_supervisor", "start_legacy_pool"]

_WARDEN_SHUTDOWN = 10.0


def legacy_supervisor(options: PoolOptions, *, name: str = "legacy") -> Supervisor:
    """The supervisor of a pool and its workers, one_for_one: `pool` (registered as `<name>.pool`), `worker-1`, ...

    Crashes of workers hardly ever end the supervisor: what a request can do is bounded by quarantine and breaker, and a
    worker that does not come up waits longer before each attempt. What is left (a thousand crashes a worker within ten
    seconds) is a fault of ours, and the supervisor's own supervisor decides.
    """
    slots = Slots(name, options)
    pool = f"{name}.pool"
    children = [Child("pool", lambda: LegacyPool(options, name=name, slots=slots), name=pool)]
    if slots.forks:
        children.append(
            Child("warden", lambda: WardenActor(slots.warden, options), name=slots.warden, shutdown=_WARDEN_SHUTDOWN)
        )
    for registered in worker_names(name, options):
        children.append(
            Child(
                registered.removeprefix(f"{name}."),
                lambda registered=registered: WorkerActor(registered, options, pool=pool, slots=slots),
                name=registered,
                shutdown=options.stop_grace + 5.0,
            )
        )
    return Supervisor(children, intensity=1000 * options.slots, period=10.0, name=name)


def legacy_pool_spec(options: PoolOptions, *, name: str = "legacy") -> Child:
    """A child spec for a pool in a tree of one's own; speak to it by `rt.ref(f"{name}.pool")`."""
    return Child(name, lambda: legacy_supervisor(options, name=name), type="supervisor")


async def start_legacy_pool(rt: Runtime, options: PoolOptions, *, name: str = "legacy") -> NamedRef[LegacyPool]:
    """Starts a pool at the top of the tree. Its workers import dspy meanwhile: `LegacyPool.wait_ready` waits for them.

    The reference survives restarts of the pool. Raises what hindered the workers (`MissingLegacy`,
    `WorkerStartFailed`, `ProtocolError`), with nothing left behind; `StartFailed` and its kind otherwise.
    """
    try:
        supervisor = await rt.start(legacy_supervisor(options, name=name))
    except StartFailed as failed:
        hindrance = _hindrance(failed)
        if hindrance is None:
            raise
        raise hindrance from failed
    pool: NamedRef[LegacyPool] = rt.ref(f"{name}.pool")
    try:
        warden = rt.whereis(f"{name}.warden")
        failure = await warden.call(WardenActor.failure) if warden is not None else None
        if isinstance(failure, MissingLegacy):
            raise failure
        await pool.call(LegacyPool.wait_ready, 0)
    except LegacyError:
        await supervisor.stop()
        raise
    return pool


def _hindrance(failed: StartFailed) -> LegacyError | None:
    reason = failed.reason
    while isinstance(reason, Shutdown) and isinstance(reason.detail, FailedToStart):
        reason = reason.detail.reason
    return reason.error if isinstance(reason, Crash) and isinstance(reason.error, LegacyError) else None
