"""`Teleprompter`: what every optimizer is; dspy's name for them.

An optimizer of the engine defines `acompile`, and gets `compile`, the same from synchronous code. One of a user's own may
define either. Callbacks are told of the outermost call (`on_compile_start`, `on_compile_end`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

from ..callbacks import with_callbacks
from ..sync import run_sync

__all__ = ["Teleprompter", "made_with"]

_COMPILING: ContextVar[frozenset[int]] = ContextVar("dspex_compiling", default=frozenset())
"""The optimizers whose callbacks have been told, by identity."""


_made_with: WeakKeyDictionary[Teleprompter, tuple[tuple[Any, ...], dict[str, Any]]] = WeakKeyDictionary()
"""Beside the optimizers and not in them: `get_params` is their attributes."""


def made_with(optimizer: object) -> Mapping[str, Any]:
    """The arguments that an optimizer was made with, defaults included; for one that is no `Teleprompter`, its
    public attributes."""
    made = _made_with.get(optimizer) if isinstance(optimizer, Teleprompter) else None
    if made is None:
        return {name: value for name, value in vars(optimizer).items() if not name.startswith("_")}
    arguments, options = made
    try:
        bound = inspect.signature(type(optimizer)).bind(*arguments, **options)
    except (TypeError, ValueError):  # an `__init__` that does not say what it takes
        return options
    bound.apply_defaults()
    return bound.arguments


class Teleprompter:
    """Base of the optimizers."""

    callback_kind: ClassVar[str] = "compile"

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if (args or kwargs) and cls.__init__ is object.__init__:
            raise TypeError(f"{cls.__name__}() takes no arguments")
        made = super().__new__(cls)
        _made_with[made] = (args, kwargs)
        return made

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "acompile" in vars(cls):
            cls.acompile = _told_once_async(cls.acompile)
            if "compile" not in vars(cls):
                cls.compile = _sync_face(cls.acompile)
        elif "compile" in vars(cls):
            cls.compile = _told_once(cls.compile)

    def compile(
        self, student: Any, *, trainset: Any, teacher: Any = None, valset: Any = None, **kwargs: Any
    ) -> Any:
        """`acompile` from synchronous code. Raises `SyncInsideLoopError` on a running event loop."""
        return run_sync(self.acompile, student, trainset=trainset, teacher=teacher, valset=valset, **kwargs)

    async def acompile(self, *args: Any, **kwargs: Any) -> Any:
        """Optimize a program: `acompile(student, trainset=..., ...)`. The student itself is not changed."""
        raise NotImplementedError(f"{type(self).__name__} must define acompile (or compile).")

    def get_params(self) -> dict[str, Any]:
        """The attributes of the optimizer."""
        return self.__dict__


def _sync_face(acompile: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(acompile)  # with its parameters
    def compile(self: Any, *args: Any, **kwargs: Any) -> Any:
        return run_sync(self.acompile, *args, **kwargs)

    compile.__name__ = "compile"
    compile.__doc__ = "`acompile` from synchronous code. Raises `SyncInsideLoopError` on a running event loop."
    return compile


def _told_once(fn: Callable[..., Any]) -> Callable[..., Any]:
    told = with_callbacks(fn)

    @wraps(fn)
    def compiled(self: Any, *args: Any, **kwargs: Any) -> Any:
        outer = _COMPILING.get()
        if id(self) in outer:
            return fn(self, *args, **kwargs)
        token = _COMPILING.set(outer | {id(self)})
        try:
            return told(self, *args, **kwargs)
        finally:
            _COMPILING.reset(token)

    return compiled


def _told_once_async(fn: Callable[..., Any]) -> Callable[..., Any]:
    told = with_callbacks(fn)

    @wraps(fn)
    async def compiled(self: Any, *args: Any, **kwargs: Any) -> Any:
        outer = _COMPILING.get()
        if id(self) in outer:
            return await fn(self, *args, **kwargs)
        token = _COMPILING.set(outer | {id(self)})
        try:
            return await told(self, *args, **kwargs)
        finally:
            _COMPILING.reset(token)

    return compiled
