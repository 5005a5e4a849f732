"""Feature flags: which engine serves, changed at run time, every change checked, recorded and announced.

    flags = FlagStore(Flags(use_native_predictors=True))
    flags.set(use_native_predictors=False, by="ops")
    flags.set(native_percent={"qa": 50}, by="ops")

The names are those of the design this project started from. A store outlives the router actor that reads it, so a
restarted router goes on with the flags that held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, final

from .errors import BadFlags

_NO_PERCENT: Mapping[str, float] = MappingProxyType({})


@final
@dataclass(frozen=True, slots=True)
class Flags:
    """One consistent set of flags. Raises BadFlags with all problems at once."""

    use_native_predictors: bool = True
    """True: programs run on the native engine. False: in the legacy pool."""
    fallback_to_legacy: bool = True
    """True: what the native engine could not do, by the named classes of errors, is asked of the legacy pool once."""
    native_percent: Mapping[str, float] = field(default_factory=lambda: _NO_PERCENT)
    """Per program, the share of keys served natively, 0 to 100, exact at both ends. It outranks the flag above."""

    def __post_init__(self) -> None:
        problems: list[str] = []
        for name in ("use_native_predictors", "fallback_to_legacy"):
            if not isinstance(getattr(self, name), bool):
                problems.append(f"{name} is True or False, not {getattr(self, name)!r}")
        if not isinstance(self.native_percent, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            problems.append(
                f'native_percent maps programs to percentages, as in {{"qa": 50}}, not {self.native_percent!r}'
            )
        else:
            for program, value in self.native_percent.items():
                if not _is_percentage(value):
                    problems.append(f"native_percent[{program!r}] is a number from 0 to 100, not {value!r}")
            object.__setattr__(self, "native_percent", MappingProxyType(dict(self.native_percent)))
        if problems:
            raise BadFlags(problems)

    def changed(self, changes: Mapping[str, Any]) -> Flags:
        """These flags with some of them changed. Raises BadFlags, also for a flag that does not exist."""
        known = [f.name for f in fields(self)]
        unknown = [f"there is no flag {name!r}; there are: {', '.join(known)}" for name in changes if name not in known]
        if unknown:
            raise BadFlags(unknown)
        return replace(self, **changes)


def _is_percentage(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100


@final
@dataclass(frozen=True, slots=True)
class FlagChange:
    """One line of the audit trail."""

    by: str
    before: Flags
    after: Flags


@final
class FlagStore:
    """The flags that hold now. Reading is an attribute access, so that deciding costs nothing."""

    def __init__(self, flags: Flags | None = None) -> None:
        self.current = flags if flags is not None else Flags()
        self._history: list[FlagChange] = []
        self._listeners: list[Callable[[FlagChange], None]] = []

    def set(self, *, by: str = "code", **changes: Any) -> Flags:
        """Change some flags for every request from now on. Raises BadFlags; then nothing has changed."""
        after = self.current.changed(changes)
        change = FlagChange(by, self.current, after)
        self.current = after
        self._history.append(change)
        for listener in tuple(self._listeners):
            listener(change)
        return after

    @property
    def history(self) -> tuple[FlagChange, ...]:
        """Who changed what, oldest first."""
        return tuple(self._history)

    def subscribe(self, listener: Callable[[FlagChange], None]) -> Callable[[], None]:
        """Hear of every change. Returns a function that ends it."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe
