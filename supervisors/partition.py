"""The same child N times, and a key that always leads to the same one: Elixir's PartitionSupervisor.

    carts = PartitionSupervisor(Cart, partitions=8, name="carts")
    async with open_runtime() as rt:
        await rt.start(carts)
        cart = partition(rt.ref("carts"), customer_id)      # used like any reference
        await cart.call(Cart.add, item)

For an actor that has become a bottleneck, or state that falls into parts that never meet. The reference is looked up at
each use, so it survives restarts of the partition, and of the supervisor if that is named.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TypeVar, final

from ..runtime import Address, NamedRef, Process, Ref, Refuse, Startable
from ..runtime.ref import DEFAULT_TIMEOUT, process_of
from .backoff import Backoff
from .specs import AutoShutdown, BadChildSpec, Child, Restart, Strategy, SupervisorError
from .specs import Shutdown as ShutdownTime
from .supervisor import Supervisor

A = TypeVar("A")


class BadPartitionKey(SupervisorError, TypeError):
    """A key of a kind that has no stable hash: use int, str, bytes, float, bool, None, or tuples of these."""


class PartitionSupervisor(Supervisor):
    """See the module. Each partition is a child; its id is its number, as a str, from "0" on.

    ``partitions``: how many, one for each core by default. ``start`` is called at each start, with what ``with_arguments``
    gives for the number of the partition, otherwise with nothing. The other options are those of ``Child`` and
    ``Supervisor``. The set of partitions never changes: start_child and delete_child are refused with BadChildSpec.

    Raises BadChildSpec.
    """

    def __init__(
        self,
        start: Callable[..., Startable],
        *,
        partitions: int | None = None,
        with_arguments: Callable[[int], Iterable[Any]] | None = None,
        restart: Restart = "permanent",
        shutdown: ShutdownTime | None = None,
        type: Literal["worker", "supervisor"] = "worker",
        significant: bool = False,
        strategy: Strategy = "one_for_one",
        intensity: int = 1,
        period: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        backoff: Backoff | None = None,
        name: str | None = None,
    ) -> None:
        count: object = (os.cpu_count() or 1) if partitions is None else partitions
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadChildSpec("partitions", partitions, f"partitions counts children, an int >= 1, not {partitions!r}")
        if not callable(start):
            raise BadChildSpec("start", start, f"start is {start!r}; give a factory, called at each start")
        if with_arguments is not None and not callable(with_arguments):
            raise BadChildSpec(
                "with_arguments",
                with_arguments,
                f"with_arguments gives the arguments for the number of a partition, it is no {with_arguments!r}",
            )

        def one(number: int) -> Child:
            return Child(
                str(number),
                lambda: start(*with_arguments(number)) if with_arguments is not None else start(),
                restart=restart,
                shutdown=shutdown,
                type=type,
                significant=significant,
            )

        super().__init__(
            map(one, range(count)),
            strategy=strategy,
            intensity=intensity,
            period=period,
            auto_shutdown=auto_shutdown,
            backoff=backoff,
            name=name,
        )
        self._count = count

    def partitions(self) -> int:
        """How many there are."""
        return self._count

    async def start_child(self, spec: Child) -> Ref[Any] | None:
        """Refused with BadChildSpec: keys would lead elsewhere."""
        raise Refuse(BadChildSpec("partitions", spec, "the partitions are fixed: start a new supervisor with more of them"))

    def delete_child(self, id: str) -> None:
        """Refused with BadChildSpec: keys would lead nowhere."""
        raise Refuse(BadChildSpec("partitions", id, "the partitions are fixed: start a new supervisor with fewer of them"))

    def process_for(self, key: object) -> Process | None:
        """Who is in charge of this key now; None while it is being restarted or stopped. Raises BadPartitionKey."""
        record = self._find(str(partition_number(key, self._count)))
        return record.process if record is not None else None

    def tree_detail(self) -> str:
        """See ``Actor.tree_detail``."""
        return f"{self._count} partitions  {super().tree_detail()}"


@final
class PartitionRef(NamedRef[A]):
    """Leads to the partition of a key. Has the methods of ``Ref``; UnknownProcess if it is not running now."""

    __slots__ = ("_key", "_supervisor")

    def __init__(
        self,
        supervisor: Ref[PartitionSupervisor] | NamedRef[PartitionSupervisor],
        key: object,
        timeout: float | None = DEFAULT_TIMEOUT,
        until: float | None = None,
    ) -> None:
        kernel = supervisor._kernel if isinstance(supervisor, NamedRef) else supervisor.process.kernel  # pyright: ignore[reportPrivateUsage]
        who = supervisor.name if isinstance(supervisor, NamedRef) else supervisor.label
        super().__init__(kernel, f"{who}[{key!r}]", timeout, until)
        self._supervisor = supervisor
        self._key = key

    def resolve(self) -> Ref[A] | None:
        """The partition's live process, now."""
        process = self.holder()
        return Ref(process, self._timeout, self._until) if process is not None and process.reason is None else None

    def holder(self) -> Process | None:
        """See ``NamedRef.holder``. Raises BadChildSpec if the supervisor is not one of partitions."""
        supervisor = self._supervisor
        process = supervisor.holder() if isinstance(supervisor, NamedRef) else supervisor.process
        if process is None or process.host is None:
            return None
        if not isinstance(process.host, PartitionSupervisor):
            raise BadChildSpec("partitions", process.label, f"{process.label} is no PartitionSupervisor")
        return process.host.process_for(self._key)

    def within(self, seconds: float | None) -> PartitionRef[A]:
        """See ``Ref.within``."""
        return PartitionRef(self._supervisor, self._key, seconds)

    def until(self, deadline: float | None) -> PartitionRef[A]:
        """See ``Ref.until``."""
        return PartitionRef(self._supervisor, self._key, None, deadline)

    def __repr__(self) -> str:
        return f"<partition {self.name}>"


def partition(
    supervisor: Ref[PartitionSupervisor] | NamedRef[Any] | Address, key: object
) -> PartitionRef[Any]:
    """A reference to whoever is in charge of ``key``, as ``{:via, PartitionSupervisor, {name, key}}``.

    Raises BadPartitionKey; BadProcess for what is no reference.
    """
    list(_words(key))
    if isinstance(supervisor, NamedRef):
        return PartitionRef(supervisor, key)
    return PartitionRef(Ref(process_of(supervisor)), key)


def partition_number(key: object, partitions: int) -> int:
    """Which of ``partitions`` a key belongs to, from 0 on. The same in every process, run and version of Python.

    As in Elixir an int goes by its remainder, so consecutive numbers are spread evenly; other keys by a hash.
    Raises BadPartitionKey.
    """
    if isinstance(key, int) and not isinstance(key, bool):
        return abs(key) % partitions
    digest = hashlib.blake2b(digest_size=8)
    for word in _words(key):
        digest.update(word)
    return int.from_bytes(digest.digest(), "big") % partitions


def _words(key: object) -> Iterator[bytes]:
    """An encoding in which no two keys look the same."""
    if isinstance(key, tuple):
        items: tuple[object, ...] = key  # pyright: ignore[reportUnknownVariableType]
        yield b"(%d:" % len(items)
        for item in items:
            yield from _words(item)
        return
    if isinstance(key, str):
        tag, data = b"s", key.encode("utf-8", "surrogatepass")
    elif isinstance(key, bytes):
        tag, data = b"b", key
    elif key is None or isinstance(key, bool | int | float):
        tag, data = type(key).__name__.encode(), repr(key).encode()
    else:
        raise BadPartitionKey(
            f"{key!r} cannot be a partition's key: use int, str, bytes, float, bool, None, or tuples of these"
        )
    yield tag + b"%d:" % len(data) + data
