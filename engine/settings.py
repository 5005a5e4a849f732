"""Which LM, which adapter, what to record: defaults for the process, overrides for a block.

    configure(lm=LM("openai/gpt-4o-mini"))          # for everyone, from any thread or task
    with context(lm=other, adapter=JSONAdapter()):  # for this task and what it starts
        ...

The defaults are one process-wide mapping that anyone may change; a block's overrides live in a context variable, so
concurrent tasks do not see each other's. An override covers exactly the keys it names: a later `configure` of another
key shows inside an open block (in dspy it does not). Any key is accepted, as in dspy. There is no owner: any thread and
any task may configure (dspy allows only the first).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, ContextDecorator
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from .pickles import PickleRefused

__all__ = ["DEFAULT_CONFIG", "Configuration", "Settings", "configure", "context", "load_settings", "settings"]

DEFAULT_CONFIG: Mapping[str, Any] = {
    "lm": None,
    "adapter": None,
    "rm": None,
    "branch_idx": 0,
    "trace": [],
    "callbacks": [],
    "async_max_workers": 8,
    "send_stream": None,
    "disable_history": False,
    "track_usage": False,
    "usage_tracker": None,
    "caller_predict": None,
    "caller_modules": None,
    "stream_listeners": [],
    "provide_traceback": False,
    "num_threads": 8,
    "max_errors": 10,
    "allow_tool_async_sync_conversion": False,
    "max_history_size": 10_000,
    "max_trace_size": 10_000,
    "warn_on_type_mismatch": True,
    "interpreter_factory": None,
}
"""The keys of dspy 3.4 and their defaults. Lists here are copied into the live settings, never shared with them."""

_defaults: dict[str, Any] = {
    key: list(value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownArgumentType]
    for key, value in DEFAULT_CONFIG.items()
}
_overrides: ContextVar[Mapping[str, Any]] = ContextVar("dspex settings", default=MappingProxyType({}))


class Configuration(dict[str, Any]):
    """A copy of the settings: a dict whose keys can also be read as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'") from None


_lock = threading.Lock()


class Settings:
    """Reads and writes the settings in force here. There is one instance, `settings`.

    Values are `Any` because the keys are open: users keep their own settings here, as in dspy.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        overrides = _overrides.get()
        if name in overrides:
            return overrides[name]
        try:
            return _defaults[name]
        except KeyError:
            raise AttributeError(f"'Settings' object has no attribute '{name}'") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self.configure(**{name: value})

    def __getitem__(self, name: str) -> Any:
        return self.__getattr__(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.configure(**{name: value})

    def __contains__(self, name: str) -> bool:
        return name in _overrides.get() or name in _defaults

    @property
    def lock(self) -> threading.Lock:
        """A lock for programs that change settings together; the settings themselves do not need it."""
        return _lock

    def get(self, name: str, default: Any = None) -> Any:
        """The value of `name`, or `default` when no one has set it."""
        overrides = _overrides.get()
        return overrides[name] if name in overrides else _defaults.get(name, default)

    def copy(self) -> Configuration:
        """All settings in force here, as a new dict."""
        return Configuration({**_defaults, **_overrides.get()})

    @property
    def config(self) -> Configuration:
        """As `copy()`."""
        return self.copy()

    def configure(self, **kwargs: Any) -> None:
        """Change the process-wide defaults. Allowed from any thread and any task; the last one wins, key by key."""
        _defaults.update(kwargs)

    def context(self, **kwargs: Any) -> AbstractContextManager[None]:
        """Override settings inside a `with` block, for this task and the tasks started in it. Also a decorator."""
        return _Override(kwargs)

    def save(
        self, path: str, modules_to_serialize: list[str] | None = None, exclude_keys: list[str] | None = None
    ) -> None:
        """dspy pickles its settings to a file. Always refused here.

        Raises:
            PickleRefused: (a ValueError) always.
        """
        raise PickleRefused(
            f"dspex.engine does not save settings ({path}): the file would be a pickle, and loading one runs code from the "
            "file. Build them in code."
        )

    @classmethod
    def load(cls, path: str, allow_pickle: bool = False) -> dict[str, Any]:
        """The counterpart of `save`. Raises as it does."""
        raise PickleRefused(
            "Loading .pkl files can run arbitrary code, which may be dangerous. Set `allow_pickle=True` if you trust the "
            f"source of the file. (dspex.engine does not load pickled settings at all: {path}.)"
        )

    def __repr__(self) -> str:
        return repr(self.copy())


class _Override(ContextDecorator):
    """A block under other settings. Every call of a module opens one: as a generator it would cost twice as much."""

    __slots__ = ("_token", "_values")

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def _recreate_cm(self) -> _Override:  # each call of a decorated function is a block of its own
        return _Override(self._values)

    def __enter__(self) -> None:
        self._token = _overrides.set({**_overrides.get(), **self._values})

    def __exit__(self, *exc: object) -> None:
        _overrides.reset(self._token)


settings = Settings()
configure = settings.configure
context = settings.context
load_settings = settings.load
