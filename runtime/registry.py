"""A registry of processes by any key, as Elixir's Registry; an entry lives as long as its process.

    sessions = Registry("unique", name="sessions")              # or Child("sessions", lambda: Registry(name="sessions"))
    await rt.start(sessions)

    class Session(Actor): ...

    user = via("sessions", "user-7")                            # speaks to whoever has the key, wherever a ref may stand
    await rt.start(Session(), name=user)                        # registered before its init runs
    await user.call(Session.greet)
    assert sessions.lookup("user-7")[0].ref == user.resolve()

"unique": one process a key. "duplicate": many, and a process may register a key several times: what ``dispatch`` is for.
As in Elixir, registering links the process and the registry: if the registry crashes, those whose entries are lost end too.
Unlike Elixir 1.14, listeners are not told of an ``unregister`` that found nothing.

Its events:

    runtime.registry.registered      registry, process
    runtime.registry.unregistered    registry, process          by itself, or because it ended
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Concatenate, Generic, Literal, ParamSpec, TypeVar, cast, final

from .exits import NameTaken, RuntimeClosed, UnknownProcess
from .process import Process
from .ref import DEFAULT_TIMEOUT, NamedRef, Ref, process_of
from .runtime import Runtime, current_runtime
from .signals import Address, ExitSignal
from .tables import Table

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
A = TypeVar("A", covariant=True)
P = ParamSpec("P")

Keys = Literal["unique", "duplicate"]


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """One registration."""

    key: Any
    ref: Ref[Any]
    value: Any


@final
@dataclass(frozen=True, slots=True)
class Registered:
    """What listeners get when a process has registered."""

    registry: str
    """The registry's name, or its label if it has none."""
    key: Any
    ref: Address
    value: Any


@final
@dataclass(frozen=True, slots=True)
class Unregistered:
    """What listeners get when a process has unregistered or ended."""

    registry: str
    key: Any
    ref: Address


class KeyTaken(NameTaken):
    """Another process, or this one, has that key already: ``ref``."""

    def __init__(self, registry: str, key: object, ref: object) -> None:
        super().__init__(f"{registry}/{key!r}", ref)
        self.registry = registry
        self.key = key


class Registry(Table):
    """See the module. ``listeners``: names or references of processes that get Registered and Unregistered.

    All methods but ``at`` are called directly, on the object. Raises ValueError for keys that are neither "unique" nor
    "duplicate". Keys are hashable.
    """

    trap_exit: ClassVar[bool] = True

    def __init__(
        self,
        keys: Keys = "unique",
        *,
        name: str | None = None,
        listeners: Iterable[str | Address | NamedRef[Any]] = (),
    ) -> None:
        if keys not in ("unique", "duplicate"):
            raise ValueError(f'a registry\'s keys are "unique" or "duplicate", not {keys!r}')
        super().__init__(name=name)
        self.unique = keys == "unique"
        self._listeners = tuple(listeners)
        self._by_key: dict[Hashable, list[Entry]] = {}
        self._by_process: dict[Process, list[Entry]] = {}
        self._meta: dict[Hashable, Any] = {}

    # --- registering --------------------------------------------------------------------------------------------

    def register(self, key: Hashable, value: object = None, *, owner: Address | NamedRef[Any] | None = None) -> None:
        """Register the process that runs this code, or ``owner``, under ``key``.

        Raises KeyTaken in a unique registry, also if it has the key itself; BadProcess outside any process without
        ``owner``; UnknownProcess if the owner is dead.
        """
        process = self._whom(owner)
        if process.reason is not None:
            raise UnknownProcess(process.label)
        self._claim(key, value, process)
        self.ref.process.link(process)
        self._announce(process, key, value)

    def unregister(self, key: Hashable, *, owner: Address | NamedRef[Any] | None = None) -> None:
        """Take away all entries of that process under ``key``; none is fine."""
        self.unregister_where(key, lambda _: True, owner=owner)

    def unregister_where(
        self, key: Hashable, wanted: Callable[[Any], bool], *, owner: Address | NamedRef[Any] | None = None
    ) -> None:
        """Take away the entries of that process under ``key`` whose value is wanted: unregister_match."""
        process = self._whom(owner)
        unwanted = [e for e in self._by_process.get(process, ()) if e.key == key and wanted(e.value)]
        for entry in unwanted:
            self._remove(entry)
        if unwanted and process not in self._by_process:
            self.ref.process.unlink(process)

    def update_value(
        self, key: Hashable, change: Callable[[Any], T], *, owner: Address | NamedRef[Any] | None = None
    ) -> tuple[T, Any]:
        """Replace the value of one's own unique entry by ``change(value)``; returns the new one and the old.

        Raises LookupError if that process does not have the key, ValueError in a duplicate registry.
        """
        if not self.unique:
            raise ValueError("values are updated in a unique registry only: unregister and register instead")
        process = self._whom(owner)
        mine = [entry for entry in self._by_key.get(key, ()) if entry.ref.process is process]
        if not mine:
            raise LookupError(f"{process.label} has no entry {key!r} in {self._title}")
        new = change(mine[0].value)
        entry = Entry(key, mine[0].ref, new)
        self._by_key[key] = [entry]
        entries = self._by_process[process]
        entries[entries.index(mine[0])] = entry
        return new, mine[0].value

    # --- reading ------------------------------------------------------------------------------------------------

    def lookup(self, key: Hashable) -> list[Entry]:
        """The entries of live processes under ``key``, oldest first; at most one if unique."""
        return [entry for entry in self._by_key.get(key, ()) if entry.ref.alive]

    def whereis(self, key: Hashable) -> Ref[Any] | None:
        """The live process that has ``key``: the oldest, if several have."""
        found = self.lookup(key)
        return found[0].ref if found else None

    def keys(self, owner: Address | NamedRef[Any] | None = None) -> list[Any]:
        """The keys of a process, by default of the one that runs this code, in the order it registered them.

        A key registered twice is there twice.
        """
        process = self._whom(owner)
        return [entry.key for entry in self._by_process.get(process, ()) if process.reason is None]

    def values(self, key: Hashable, owner: Address | NamedRef[Any] | None = None) -> list[Any]:
        """The values of that process under ``key``."""
        process = self._whom(owner)
        return [entry.value for entry in self.lookup(key) if entry.ref.process is process]

    def count(self) -> int:
        """How many entries there are."""
        return sum(len(self.lookup(key)) for key in self._by_key)

    def count_where(self, key: Hashable, wanted: Callable[[Any], bool]) -> int:
        """How many entries under ``key`` have a wanted value: count_match."""
        return len(self.match(key, wanted))

    def match(self, key: Hashable, wanted: Callable[[Any], bool]) -> list[Entry]:
        """The entries under ``key`` whose value is wanted."""
        return [entry for entry in self.lookup(key) if wanted(entry.value)]

    def select(self, wanted: Callable[[Entry], bool] = lambda _: True) -> list[Entry]:
        """All entries that are wanted, in no particular order."""
        return [entry for key in self._by_key for entry in self.lookup(key) if wanted(entry)]

    def dispatch(self, key: Hashable, use: Callable[[list[Entry]], object]) -> None:
        """Call ``use`` once with the entries under ``key``, in the caller; not at all if there are none.

        registry.dispatch("news", lambda entries: [entry.ref.send(item) for entry in entries])
        """
        entries = self.lookup(key)
        if entries:
            use(entries)

    # --- metadata -----------------------------------------------------------------------------------------------

    def put_meta(self, key: Hashable, value: object) -> None:
        """Keep something with the registry itself."""
        self._meta[key] = value

    def meta(self, key: Hashable, default: T = None) -> Any | T:
        """What was kept under ``key``, or ``default``."""
        return self._meta.get(key, default)

    def delete_meta(self, key: Hashable) -> None:
        """Forget it; nothing there is fine."""
        self._meta.pop(key, None)

    def statistics(self) -> dict[str, int]:
        """Counts: entries, keys and processes that have some."""
        return {"entries": self.count(), "keys": len(self._by_key), "processes": len(self._by_process)}

    def tree_detail(self) -> str:
        """How full it is."""
        return f"{'unique' if self.unique else 'duplicate'}, {self.count()} entries"

    # --- the inside ---------------------------------------------------------------------------------------------

    async def handle_info(self, message: Any) -> None:
        """The end of a process that is registered takes its entries away."""
        if isinstance(message, ExitSignal):
            if isinstance(message.ref, Address):
                self._drop(message.ref)
        else:
            await super().handle_info(message)

    def _drop(self, address: Address) -> None:
        for entry in tuple(self._by_process.get(process_of(address), ())):
            self._remove(entry)

    def _claim(self, key: Hashable, value: object, process: Process) -> None:
        if self.unique:
            for entry in self._by_key.get(key, ()):
                if entry.ref.alive:
                    raise KeyTaken(self._title, key, entry.ref)
                self._remove(entry)  # it is dead, and its signal on the way
        entry = Entry(key, Ref(process), value)
        self._by_key.setdefault(key, []).append(entry)
        self._by_process.setdefault(process, []).append(entry)

    def _announce(self, process: Process, key: Hashable, value: object) -> None:
        self._tell(Registered(self._title, key, Ref[Any](process), value))
        self.rt.events.emit("runtime.registry.registered", registry=self._title, process=process.label)

    def _remove(self, entry: Entry) -> None:
        process = entry.ref.process
        _take(self._by_key, entry.key, entry)
        _take(self._by_process, process, entry)
        self._tell(Unregistered(self._title, entry.key, entry.ref))
        self.rt.events.emit("runtime.registry.unregistered", registry=self._title, process=process.label)

    def _tell(self, message: Registered | Unregistered) -> None:
        for listener in self._listeners:
            to = self.rt.ref(listener) if isinstance(listener, str) else listener
            if isinstance(to, NamedRef):
                to = to.resolve()
            if to is not None and to.alive:
                Ref[Any](process_of(to)).send(message)

    @property
    def _title(self) -> str:
        process = self.ref.process
        return process.name or process.label


class Via(NamedRef[A], Generic[A]):
    """Speaks to the process that has a key in a registry at the moment of speaking. See ``via``."""

    __slots__ = ("key", "registry", "value")

    def __init__(
        self,
        registry: Registry | Ref[Registry] | NamedRef[Registry] | str,
        key: Hashable,
        value: object = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        until: float | None = None,
    ) -> None:
        self.registry = registry
        if isinstance(registry, str) and (runtime := _runtime_here()) is not None:
            self.registry = runtime.ref(registry)
        self.key = key
        self.value = value
        self.name = f"{_called(registry)}/{key!r}"
        self._timeout = timeout
        self._until = until

    def resolve(self) -> Ref[A] | None:
        """The live process that has the key now; None also if there is no such registry."""
        holder = self.holder()
        return Ref(holder, self._timeout, self._until) if holder is not None else None

    def holder(self) -> Process | None:
        """The process that has the key now."""
        try:
            found = Registry.at(self.registry).whereis(self.key)
        except UnknownProcess:
            return None
        return found.process if found is not None else None

    def resolved(self) -> Ref[A]:
        """As ``resolve``; raises UnknownProcess if nobody has the key, RuntimeClosed if no runtime is there to look in."""
        ref = self.resolve()
        if ref is None:
            self.require_open()
            raise UnknownProcess(self.name)
        return ref

    def require_open(self) -> None:
        """Raises RuntimeClosed if the registry is to be looked up in the current runtime and there is none."""
        if isinstance(self.registry, str):
            current_runtime()

    def cast(self, method: Callable[Concatenate[A, P], object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """As ``Ref.cast``; nobody there: a dead letter."""
        ref = self.resolve()
        if ref is not None:
            ref.cast(method, *args, **kwargs)
        else:
            where = self.registry
            runtime = current_runtime() if isinstance(where, str) else _runtime_here()
            if runtime is not None:
                runtime.events.emit("runtime.dead_letter", process=self.name, kind="cast")

    def inside(self, runtime: Runtime) -> Via[A]:
        """The same key, its registry looked up in this runtime."""
        if not isinstance(self.registry, str):
            return self
        return Via(runtime.ref(self.registry), self.key, self.value, self._timeout, self._until)

    def claim(self, process: Process) -> None:
        """Register a process that is about to start. Raises KeyTaken, UnknownProcess for the registry."""
        where = self.registry
        if isinstance(where, str):
            where = NamedRef[Registry](process.kernel, where)
        Registry.at(where).register(self.key, self.value, owner=process.address)

    def within(self, seconds: float | None) -> Via[A]:
        """See ``Ref.within``."""
        return Via(self.registry, self.key, self.value, seconds)

    def until(self, deadline: float | None) -> Via[A]:
        """See ``Ref.until``."""
        return Via(self.registry, self.key, self.value, None, deadline)

    def __repr__(self) -> str:
        return f"<via {self.name}>"


def via(registry: Registry | Ref[Registry] | NamedRef[Registry] | str, key: Hashable, value: object = None) -> Via[Any]:
    """A reference to whoever has ``key`` in a registry, looked up at each use; usable wherever a name or a ref is.

    As ``name=`` of a start or a child spec it registers the process, with ``value``, before its init runs; a key that is
    taken is NameTaken. A ``registry`` given by name is looked up at each use, so it survives restarts: in the runtime in
    which ``via`` was called, or, if it was called before any was open, in the one where it is used.
    """
    return Via(registry, key, value)


def _runtime_here() -> Runtime | None:
    try:
        return current_runtime()
    except RuntimeClosed:
        return None


def _take(table: dict[K, list[Entry]], key: K, entry: Entry) -> None:
    entries = [other for other in table.get(key, ()) if other is not entry]
    if entries:
        table[key] = entries
    else:
        table.pop(key, None)


def _called(registry: object) -> str:
    if isinstance(registry, str):
        return registry
    if isinstance(registry, NamedRef):
        return cast("NamedRef[Any]", registry).name
    return registry.label if isinstance(registry, Ref) else type(registry).__name__
