"""Which LM, which adapter, what to record: defaults for the process, overrides for a block.

    configure(lm=LM("openai/gpt-4o-mini"))          # for everyone, from any thread or task
    with context(lm=other, adapter=JSONAdapter()):  # for this task and what it starts
        ...

The defaults are one process-wide mapping that anyone may change; a block's overrides live in a context variable, so
concurrent tasks do not see each other's. An override covers exactly the keys it names: a later `configure` of another
key shows inside an open block (in dspy it does not). Any key is accepted, as in dspy.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

__all__ = ["DEFAULT_CONFIG", "Settings", "configure", "context", "settings"]

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

# Keys whose machinery the engine does not have yet: accepting a value would look like it worked.
_NOT_YET = {
    "callbacks": "callbacks",
    "send_stream": "token streaming",
    "stream_listeners": "token streaming",
}

_defaults: dict[str, Any] = {
    key: list(value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownArgumentType]
    for key, value in DEFAULT_CONFIG.items()
}
_overrides: ContextVar[Mapping[str, Any]] = ContextVar("dspex settings", default=MappingProxyType({}))


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

    def get(self, name: str, default: Any = None) -> Any:
        """The value of `name`, or `default` when no one has set it."""
        return {**_defaults, **_overrides.get()}.get(name, default)

    def copy(self) -> dict[str, Any]:
        """All settings in force here, as a new dict."""
        return {**_defaults, **_overrides.get()}

    @property
    def config(self) -> dict[str, Any]:
        """As `copy()`."""
        return self.copy()

    def configure(self, **values: Any) -> None:
        """Change the process-wide defaults. Allowed from any thread and any task; the last one wins, key by key.

        Raises:
            NotImplementedError: the key asks for a part that the engine does not have yet.
        """
        _refuse_not_yet(values)
        _defaults.update(values)

    @contextmanager
    def context(self, **values: Any) -> Generator[None, None, None]:
        """Override settings inside a `with` block, for this task and the tasks started in it.

        Raises:
            NotImplementedError: the key asks for a part that the engine does not have yet.
        """
        _refuse_not_yet(values)
        token = _overrides.set({**_overrides.get(), **values})
        try:
            yield
        finally:
            _overrides.reset(token)

    def __repr__(self) -> str:
        return repr(self.copy())


def _refuse_not_yet(values: Mapping[str, Any]) -> None:
    for key, part in _NOT_YET.items():
        if values.get(key):
            raise NotImplementedError(f"settings.{key}: dspex.engine has no {part} yet. Leave it unset.")


settings = Settings()
configure = settings.configure
context = settings.context
