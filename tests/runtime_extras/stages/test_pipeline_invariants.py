"""Whatever comes and goes, in whatever order: nothing is lost but what was handed to the dead, nothing comes twice.

Random pipelines from a seed: consumers come, are cancelled, are killed, are slow; producers have each kind of dispatcher.
"""

from __future__ import annotations

import random

import pytest
from dspex.runtime import KILLED, open_runtime
from dspex.runtime.stages import BroadcastDispatcher, PartitionDispatcher, Subscribe
from dspex.runtime.testing import all_tasks_blocked
from pipeline_flows import Collect, Double, Numbers

pytestmark = pytest.mark.anyio


def options(rng: random.Random, to: object, **more: object) -> Subscribe:
    most = rng.randint(1, 9)
    return Subscribe(to, max_demand=most, min_demand=rng.randint(0, most - 1), cancel="temporary", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kills", [False, True])
async def test_each_event_goes_to_one_consumer(seed: int, kills: bool) -> None:
    rng = random.Random(seed)
    total = rng.randint(50, 150)
    async with open_runtime() as rt:
        numbers = Numbers(until=total)
        top = await rt.start(numbers)
        middle = await rt.start(Double(options(rng, top)))
        source = rng.choice([top, middle])
        factor = 2 if source is middle else 1
        consumers: list[Collect] = []
        alive = []
        lost_at_most = 0
        for _ in range(30):
            act = rng.choice(["start", "end", "wait", "wait"])
            if act == "start" and len(alive) < 5:
                chosen = options(rng, source)
                collect = Collect(chosen, seconds=rng.choice([0, 0.5, 1]))
                alive.append((collect, await rt.start(collect), chosen))
                consumers.append(collect)
            elif act == "end" and alive:
                collect, ref, chosen = alive.pop(rng.randrange(len(alive)))
                if kills and rng.random() < 0.5:
                    ref.kill()
                    lost_at_most += chosen.max_demand
                else:
                    ref.cast(Collect.cancel, collect.subscriptions[0]) if collect.subscriptions else ref.exit("early")
            else:
                await rt.sleep(rng.choice([0.1, 0.5, 2]))
        last = Collect(Subscribe(source))
        await rt.start(last)
        await rt.sleep(1000)
        got = [n for collect in [*consumers, last] for n in collect.got]
        assert len(got) == len(set(got))
        assert set(got) <= {factor * n for n in range(total)}
        for collect in consumers:
            assert collect.got == sorted(collect.got)
        # What the stage in the middle holds is not lost: the two share the numbers if the consumers are at the top.
        held = int(middle.process.host.statistics()["queued"]) if source is top else 0  # type: ignore[union-attr]
        missing = total - len(got) - held
        assert 0 <= missing <= lost_at_most
        assert numbers.statistics()["buffered"] == 0


@pytest.mark.parametrize("seed", range(8))
async def test_a_broadcast_has_no_gaps_for_anybody(seed: int) -> None:
    rng = random.Random(seed)
    async with open_runtime() as rt:
        numbers = Numbers(until=10_000, dispatcher=BroadcastDispatcher())
        producer = await rt.start(numbers)
        consumers: list[Collect] = []
        for _ in range(15):
            act = rng.choice(["start", "end", "wait"])
            if act == "start":
                consumers.append(Collect(options(rng, producer), seconds=rng.choice([0.1, 0.5])))
                await rt.start(consumers[-1])
            elif act == "end" and consumers:
                ref = rng.choice(consumers).ref
                ref.kill()
            await rt.sleep(rng.choice([0.1, 1]))
        for collect in consumers:
            if collect.got:
                assert collect.got == list(range(collect.got[0], collect.got[0] + len(collect.got)))
            assert collect.ref.exit_reason in (None, KILLED)


@pytest.mark.parametrize("seed", range(8))
async def test_a_partition_keeps_its_order_through_changes_of_its_consumer(seed: int) -> None:
    rng = random.Random(seed)
    total = 120
    async with open_runtime() as rt:
        dispatcher = PartitionDispatcher(3, hash=lambda n: n % 3 if n % 7 else None, queue_size=rng.randint(1, 20))
        numbers = Numbers(until=total, dispatcher=dispatcher)
        producer = await rt.start(numbers)
        got: dict[int, list[int]] = {0: [], 1: [], 2: []}
        current = {}
        for part in got:
            current[part] = Collect(options(rng, producer, partition=part), into=got[part], seconds=0.1)
            await rt.start(current[part])
        for _ in range(10):
            await rt.sleep(rng.choice([0.1, 0.5]))
            part = rng.randrange(3)
            if current[part].subscriptions:
                await current[part].ref.within(None).call(Collect.cancel, current[part].subscriptions[0])
                await rt.sleep(1)
                current[part] = Collect(options(rng, producer, partition=part), into=got[part], seconds=0.1)
                await rt.start(current[part])
                await all_tasks_blocked()
        await rt.sleep(1000)
        wanted = {part: [n for n in range(total) if n % 7 and n % 3 == part] for part in got}
        assert got == wanted
