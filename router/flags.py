"""Feature flags: which engine serves, changed at run time, every change checked, recorded and announced.

    flags = FlagStore(Flags(use_native_predictors=True))
    flags.set(use_native_predictors=False, by="ops")
    flags.set(native_percent={"qa": 50}, by="ops")
    flags.set(mode={"qa": "shadow"}, by="ops")

The names are those of the design this project started from. What decides about a request, first to last:

1. the call's own ``engine=``;
2. an OpenFeature provider, where the app was given one (see ``open_feature``);
3. ``features``: a program that uses a feature flagged "legacy" is served by the legacy pool, whatever is below;
4. ``mode`` of the program; 5. its ``native_percent``;
6. ``use_native_signatures`` and ``use_native_predictors``: one of them False is enough for legacy;

and then, for 5 and 6, a requirement (the call's ``require=``, or the program's flag) may move it to the engine that keeps
the bound; a mode that names its engine is not moved. A store outlives the router actor that reads it, so a
restarted router goes on with the flags that held.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Final, Literal, cast, final, get_args

from .errors import BadFlags
from .features import FEATURES, find_feature, near
from .request import Engine
from .requirement import Requirement

Mode = Literal["native", "legacy", "shadow", "rollout"]
"""What one program does, whatever the flags for all say.

native, legacy: that engine serves. shadow: one engine serves (``shadow_serves``), the other is asked as well, and the
differences are recorded. rollout: ``native_percent`` of the keys are served natively."""

HISTORY: Final = 1000
"""Changes that a store remembers; the oldest are dropped."""

_BOOLS: Final = ("use_native_signatures", "use_native_predictors", "use_legacy_optimizer", "fallback_to_legacy")
_NO_PERCENT: Mapping[str, float] = MappingProxyType({})
_NO_MODE: Mapping[str, Mode] = MappingProxyType({})
_NO_FEATURE: Mapping[str, Engine] = MappingProxyType({})
_NO_REQUIREMENT: Mapping[str, Requirement] = MappingProxyType({})

PER_PROGRAM: Final = ("native_percent", "mode", "features", "require")
"""The flags that are tables: of programs, or of features."""


@final
@dataclass(frozen=True, slots=True)
class Flags:
    """One consistent set of flags. Raises BadFlags with all problems at once."""

    use_native_signatures: bool = True
    """False: signatures are parsed and compiled by the real dspy in a worker, so a program that has one of its own (every
    predictor has) is served by the legacy pool, also where ``use_native_predictors`` is True: a native predictor needs a
    native signature. A program without any goes by ``use_native_predictors``. ``mode`` and ``native_percent`` outrank
    it, program by program."""
    use_native_predictors: bool = True
    """True: programs run on the native engine. False: in the legacy pool. ``mode`` and ``native_percent`` outrank it,
    program by program."""
    use_legacy_optimizer: bool = False
    """True: optimizer jobs run dspy's optimizers in workers, also those that the native engine has."""
    fallback_to_legacy: bool = True
    """True: what the native engine could not do, by the named classes of errors, is asked of the legacy pool once."""
    native_percent: Mapping[str, float] = field(default_factory=lambda: _NO_PERCENT)
    """Per program, the share of keys served natively, 0 to 100, exact at both ends. Makes the program's mode a rollout."""
    mode: Mapping[str, Mode] = field(default_factory=lambda: _NO_MODE)
    """Per program, its mode."""
    shadow_serves: Literal["native", "legacy"] = "legacy"
    """In the mode shadow: who answers."""
    features: Mapping[str, Engine] = field(default_factory=lambda: _NO_FEATURE)
    """Per feature of the registry, "legacy": programs that use it are served by the legacy pool. ``"qa/react"`` speaks of
    the program qa alone and outranks "react", so "native" there is its exception. It outranks the program's mode; in the
    mode shadow the native engine goes on being compared."""
    require: Mapping[str, Requirement] = field(default_factory=lambda: _NO_REQUIREMENT)
    """Per program, a bound on latency or cost: a ``Requirement``, a table of its fields, or a text, "p95<2s". The modes
    native, legacy and shadow name the engine and outrank it."""

    def __post_init__(self) -> None:
        problems: list[str] = []
        for name in _BOOLS:
            if not isinstance(getattr(self, name), bool):
                problems.append(f"{name} is True or False, not {getattr(self, name)!r}")
        if self.shadow_serves not in ("native", "legacy"):
            problems.append(f'shadow_serves is "native" or "legacy", not {self.shadow_serves!r}')
        percent = _mapping(problems, "native_percent", self.native_percent, '{"qa": 50}')
        mode = _mapping(problems, "mode", self.mode, '{"qa": "shadow"}')
        for program, value in percent.items():
            if not _is_percentage(value):
                problems.append(f"native_percent[{program!r}] is a number from 0 to 100, not {value!r}")
        for program, value in mode.items():
            if value not in get_args(Mode):
                problems.append(f"mode[{program!r}] is one of {', '.join(get_args(Mode))}, not {value!r}")
            elif value == "rollout" and program not in percent:
                problems.append(f'mode[{program!r}] is "rollout", of which share? Set native_percent[{program!r}] too')
            elif value != "rollout" and program in percent:
                problems.append(
                    f"mode[{program!r}]={value!r} conflicts with native_percent[{program!r}]={percent[program]!r}: "
                    'set the mode to "rollout" or remove one of the two'
                )
        features = _mapping(problems, "features", self.features, '{"react": "legacy"}')
        for key, value in features.items():
            problems += _feature_problems(key, value)
        require: dict[str, Requirement] = {}
        for program, value in _mapping(problems, "require", self.require, '{"qa": "p95<2s"}').items():
            try:
                require[program] = Requirement.parse(value)
            except (ValueError, TypeError) as error:
                problems.append(f"require[{program!r}]: {error}")
        if problems:
            raise BadFlags(problems)
        object.__setattr__(self, "native_percent", MappingProxyType(dict(percent)))
        object.__setattr__(self, "mode", MappingProxyType(dict(mode)))
        object.__setattr__(self, "features", MappingProxyType(dict(features)))
        object.__setattr__(self, "require", MappingProxyType(require))

    def to_dict(self) -> dict[str, Any]:
        """The flags by their names as JSON has them; ``Flags(**flags.to_dict()) == flags``."""
        made: dict[str, Any] = {}
        for flag in fields(self):
            value: Any = getattr(self, flag.name)
            if flag.name == "require":
                value = {program: asdict(bound) for program, bound in self.require.items()}
            made[flag.name] = dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value
        return made

    def changed(self, changes: Mapping[str, Any]) -> Flags:
        """These flags with some of them changed. Raises BadFlags, also for a flag that does not exist."""
        known = [f.name for f in fields(self)]
        unknown = [_unknown(name, known) for name in changes if name not in known]
        try:
            after = replace(self, **{name: value for name, value in changes.items() if name in known})
        except BadFlags as error:
            raise BadFlags([*unknown, *error.problems]) from None
        if unknown:
            raise BadFlags(unknown)
        return after

    def for_program(self, program: str, mode: Mode, percent: float | None = None) -> dict[str, Any]:
        """The changes that put one program into a mode, for ``FlagStore.set``: nothing else changes.

        ``percent`` is needed for a rollout and meant for nothing else.
        """
        modes = {**self.mode, program: mode}
        percents = {name: value for name, value in self.native_percent.items() if name != program}
        if percent is not None:
            percents[program] = percent
        return {"mode": modes, "native_percent": percents}


def _unknown(name: str, known: list[str]) -> str:
    meant = near(name, known)
    return f"there is no flag {name!r}; " + (f"did you mean {meant[0]!r}? " if meant else "") + f"there are: {', '.join(known)}"


def _feature_problems(key: str, value: object) -> list[str]:
    program, slash, id = key.rpartition("/")
    if id not in FEATURES:
        found = find_feature(id)
        meant = (found.id,) if found is not None else near(id, FEATURES)
        return [
            f"features[{key!r}]: there is no feature {id!r}"
            + (f"; did you mean {meant[0]!r}?" if meant else "; docs/feature-matrix.md lists them")
        ]
    if slash and not program:
        return [f"features[{key!r}]: write {id!r} for all programs, or 'program/{id}' for one"]
    if value not in ("native", "legacy"):
        return [f'features[{key!r}] is "native" or "legacy", not {value!r}']
    if value == "native" and not FEATURES[id].native:
        return [f"features[{key!r}]='native' cannot be: {FEATURES[id].status}, {FEATURES[id].reason}"]
    if value == "legacy" and FEATURES[id].status == "not offered":
        return [f"features[{key!r}]='legacy' cannot be: no engine has it, {FEATURES[id].reason}"]
    return []


def _mapping(problems: list[str], name: str, value: object, example: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):  # pyright: ignore[reportUnknownVariableType]
        return value  # pyright: ignore[reportUnknownVariableType]
    problems.append(f"{name} maps names of programs to values, as in {example}, not {value!r}")
    return {}


def _is_percentage(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100


@final
@dataclass(frozen=True, slots=True)
class FlagChange:
    """One line of the audit trail: who, when (seconds since the epoch), what it was and what it is."""

    by: str
    before: Flags
    after: Flags
    at: float = field(default=0.0, compare=False)
    number: int = field(default=0, compare=False)
    """In the store, the first is 1."""

    @property
    def changes(self) -> dict[str, Any]:
        """The flags that have another value now, with that value."""
        found: dict[str, Any] = {}
        for flag in fields(self.after):
            value: Any = getattr(self.after, flag.name)
            if value != getattr(self.before, flag.name):
                found[flag.name] = dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value
        return found


@final
class FlagStore:
    """The flags that hold now. Reading is an attribute access, so that deciding costs nothing.

    ``programs``: the names that flags may speak of; a flag for any other is refused. None: any name will do.
    """

    def __init__(self, flags: Flags | None = None, *, programs: Iterable[str] | None = None) -> None:
        self._programs = None if programs is None else frozenset(programs)
        self.current = self._checked(flags if flags is not None else Flags())
        self.initial = self.current
        """The flags that it was made with."""
        self.made_at = time.time()
        """When it was made, in seconds since the epoch."""
        self.id = uuid.uuid4().hex
        """Tells its changes from those of other stores in one journal."""
        self.changed_times = 0
        """Changes since it was made, also those that the history has dropped."""
        self._history: deque[FlagChange] = deque(maxlen=HISTORY)
        self._listeners: list[Callable[[FlagChange], None]] = []

    def set(self, *, by: str = "code", **changes: Any) -> Flags:
        """Change some flags for every request from now on. Raises BadFlags; then nothing has changed."""
        return self.replace(self.current.changed(changes), by=by)

    def replace(self, flags: Flags, *, by: str = "code") -> Flags:
        """Make these the flags that hold. No change, if they do already. Raises BadFlags for a program unknown here."""
        self._checked(flags)
        if flags == self.current:
            return flags
        self.changed_times += 1
        change = FlagChange(by, self.current, flags, time.time(), self.changed_times)
        self.current = flags
        self._history.append(change)
        for listener in tuple(self._listeners):
            listener(change)
        return flags

    def _checked(self, flags: Flags) -> Flags:
        if self._programs is not None:
            named = [
                (f"{flag}[{key!r}]", key.rpartition("/")[0] if flag == "features" else key)
                for flag in PER_PROGRAM
                for key in getattr(flags, flag)
                if flag != "features" or "/" in key
            ]
            problems = [self._no_program(said, name) for said, name in named if name not in self._programs]
            if problems:
                raise BadFlags(problems)
        return flags

    def _no_program(self, said: str, name: str) -> str:
        known = sorted(self._programs or ())
        meant = near(name, known)
        guess = f"did you mean {meant[0]!r}? " if meant else ""
        return f"{said}: no program is called that; {guess}there are: {', '.join(known)}"

    @property
    def history(self) -> tuple[FlagChange, ...]:
        """Who changed what and when, oldest first; the last ``HISTORY`` of them."""
        return tuple(self._history)

    def subscribe(self, listener: Callable[[FlagChange], None]) -> Callable[[], None]:
        """Hear of every change. Returns a function that ends it."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe
