"""The `forward` of a module: run by calling the module, and a warning when called by itself.

`program.forward(...)` skips callbacks, history and usage. dspy warns of it by looking at every attribute access of every
module; here the one attribute looks at itself, so that the rest of a program costs nothing.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

from .logs import engine_logger

__all__ = ["Forward", "forward_of"]

logger = engine_logger("dspex.engine.module", dspy="dspy.primitives.module")


class Forward:
    """Stands for a `forward` in the body of a module class."""

    def __init__(self, function: types.FunctionType) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: object, owner: type) -> Callable[..., Any]:
        if instance is None:
            return self.function
        if sys._getframe(1).f_code.co_name != "__call__":  # pyright: ignore[reportPrivateUsage]
            # `super().forward` comes here too; it is an override at work and not a call from outside.
            outermost = next(vars(cls)["forward"] for cls in owner.__mro__ if "forward" in vars(cls))
            if outermost is self:
                logger.warning(
                    f"Calling module.forward(...) on {owner.__name__} directly is discouraged. "
                    "Please use module(...) instead."
                )
        return types.MethodType(self.function, instance)


def forward_of(module: object) -> Callable[..., Any] | None:
    """The `forward` of a module, for whoever runs it; None if it has none."""
    own = vars(module).get("forward")
    if own is not None:
        return own
    for cls in type(module).__mro__:
        found = vars(cls).get("forward")
        if isinstance(found, Forward):
            return types.MethodType(found.function, module)
        if found is not None:
            return getattr(module, "forward")  # noqa: B009 - it may be any descriptor
    return None
