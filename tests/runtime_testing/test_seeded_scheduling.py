"""A seed permutes the order of ready tasks, the same seed gives the same order, and a crash found under it is found again."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from dspex.runtime import Actor, open_runtime
from dspex.runtime.testing import BackendName, SeedFailed, explore, virtual_backend
from dspex.supervisors import Child, Supervisor

BACKENDS: list[BackendName] = ["asyncio", "trio"]
both = pytest.mark.parametrize("backend", BACKENDS)


class Speaker(Actor):
    def __init__(self, log: list[int], number: int) -> None:
        self.log = log
        self.number = number

    async def speak(self) -> None:
        for _ in range(3):
            self.log.append(self.number)
            await anyio.lowlevel.checkpoint()


async def speakers(log: list[int]) -> None:
    async with open_runtime() as rt:
        refs = [await rt.start(Speaker(log, n)) for n in range(6)]
        for ref in refs:
            ref.cast(Speaker.speak)
        await rt.sleep(1)


def order(backend: BackendName, seed: int | None) -> tuple[int, ...]:
    log: list[int] = []
    name, options = virtual_backend(backend, seed=seed)
    anyio.run(speakers, log, backend=name, backend_options=options)
    return tuple(log)


@both
def test_the_same_seed_gives_the_same_order(backend: BackendName) -> None:
    assert all(order(backend, seed) == order(backend, seed) for seed in range(5))


@both
def test_other_seeds_give_other_orders_of_the_same_events(backend: BackendName) -> None:
    orders = {order(backend, seed) for seed in range(10)}
    assert len(orders) > 5
    assert {tuple(sorted(o)) for o in orders} == {tuple(sorted([*range(6)] * 3))}


def test_without_a_seed_asyncio_keeps_its_order() -> None:
    assert order("asyncio", None)[:6] == (0, 1, 2, 3, 4, 5)


def test_a_run_with_a_seed_leaves_trio_as_it_was() -> None:
    from trio._core import _run

    before = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r
    order("trio", 3)
    assert (_run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r) == before


class Account(Actor):
    """Wrong on purpose: it reads, waits, and writes."""

    concurrency = 2

    def __init__(self) -> None:
        self.balance = 0

    async def add(self, n: int) -> None:
        seen = self.balance
        if n == 1:
            await anyio.lowlevel.checkpoint()
        self.balance = seen + n

    def read(self) -> int:
        return self.balance


async def lost_update() -> None:
    async with open_runtime() as rt:
        await rt.start(Supervisor([Child("account", Account, name="account")]))
        account = rt.ref("account")
        async with anyio.create_task_group() as group:
            group.start_soon(account.call, Account.add, 2)
            group.start_soon(account.call, Account.add, 1)
        assert await account.call(Account.read) == 3


@both
def test_a_race_is_found_and_found_again_with_the_seed(backend: BackendName) -> None:
    with pytest.raises(SeedFailed, match="repeat it with") as caught:
        explore(lost_update, seeds=range(200), backends=[backend])
    failed = caught.value
    assert failed.backend == backend
    assert isinstance(failed.__cause__, AssertionError)
    for _ in range(3):
        with pytest.raises(SeedFailed) as again:
            explore(lost_update, seeds=[failed.seed], backends=[backend])
        assert again.value.seed == failed.seed


def test_what_never_fails_is_explored_to_the_end() -> None:
    runs: list[int] = []

    async def scenario() -> None:
        runs.append(1)
        await anyio.sleep(3600)

    explore(scenario, seeds=range(3))
    assert len(runs) == 6


def test_another_loop_is_refused() -> None:
    name: Any = "curio"
    with pytest.raises(ValueError, match="asyncio"):
        virtual_backend(name, seed=1)
