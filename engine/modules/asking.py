"""How one program calls another: awaited where it can be, in a thread where it cannot.

Most programs hold modules. Some hold a plain function in a module's place, or an object with `__call__` only (a stub
in a test, a program of another library); those run off the event loop.
"""

from __future__ import annotations

import inspect
import traceback
from typing import Any

from ..adapters import ChatAdapter
from ..off_loop import call_off_loop
from ..settings import settings

__all__ = ["adapter_in_force", "ask", "told_to_model"]

_CHAT = ChatAdapter()


async def ask(program: Any, /, *args: Any, **kwargs: Any) -> Any:
    """`await program.acall(...)`, or `program(...)` in a thread when it has no `acall`."""
    acall = getattr(program, "acall", None)
    if inspect.iscoroutinefunction(acall):
        return await acall(*args, **kwargs)
    return await call_off_loop(program, *args, **kwargs)


def told_to_model(error: BaseException, *, traceback_frames: int = 0) -> str:
    """An error as an observation for the model: its text, or with `traceback_frames` the outermost frames of its
    traceback too, on a line of their own. As dspy 3.4 words it.
    """
    if traceback_frames <= 0:
        return str(error)
    lines = traceback.format_exception(type(error), error, error.__traceback__, limit=traceback_frames)
    return "\n" + "".join(lines).strip()


def adapter_in_force() -> Any:
    """The adapter of the settings, by default a `ChatAdapter`. `Any`: a program may bring one that only looks like it."""
    return settings.adapter or _CHAT
