"""Callbacks: code of yours that is told when a module, LM, adapter, tool or evaluation starts and ends.

    class Log(BaseCallback):
        def on_lm_start(self, call_id, instance, inputs):
            print(call_id, "within", ACTIVE_CALL_ID.get(), inputs["messages"])

    configure(callbacks=[Log()])                 # of every component
    lm = LM("openai/gpt-4o-mini", callbacks=[Log()])    # of this one only

Names, arguments and order are those of dspy 3.4: the global callbacks first, then the component's own; a start handler
runs before `ACTIVE_CALL_ID` becomes the new call's id, so that it reads there the id of the call around it, and so does
the end handler. Handlers are plain functions and run where the call runs, so they must be quick. What a handler raises
is logged and never reaches the program; an end handler is told of every end, cancellation included.

A class takes part by its `callback_kind` and by `with_callbacks` on the methods that count:

    class Tool:
        callback_kind = "tool"           # on_tool_start, on_tool_end
        @with_callbacks
        async def acall(self, **kwargs): ...

Without callbacks the decorator costs two look-ups a call.
"""

from __future__ import annotations

import functools
import inspect
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from .logs import engine_logger
from .settings import settings

__all__ = ["ACTIVE_CALL_ID", "BaseCallback", "active_callbacks", "bind_active_call_id", "with_callbacks"]

logger = engine_logger("dspex.engine.callbacks", dspy="dspy.utils.callback")

F = TypeVar("F", bound=Callable[..., Any])

ACTIVE_CALL_ID: ContextVar[str | None] = ContextVar("active_call_id", default=None)
"""The id of the innermost call that callbacks were told of, in this task; None outside of any."""

# The methods of an interpreter, and what their events are called.
_INTERPRETER_OPERATIONS = {
    "execute": "execute",
    "invoke_tool": "tool_call",
    "start": "startup",
    "shutdown": "shutdown",
    "aexecute": "execute",
    "ainvoke_tool": "tool_call",
    "astart": "startup",
    "ashutdown": "shutdown",
}
_ADAPTER_METHODS = ("format", "parse")


class BaseCallback:
    """Base of callbacks: override the handlers you want, the others do nothing.

    Each pair gets the same `call_id`. `inputs` holds the arguments of the call by name (`args` and `kwargs` for those
    of a module); `outputs` is what it returned, None when it raised `exception`.
    """

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A module is called."""

    def on_module_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        """A module has returned or raised."""

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """An LM is called; `inputs` has `prompt`, `messages` and `kwargs`."""

    def on_lm_end(
        self, call_id: str, outputs: dict[str, Any] | None, exception: BaseException | None = None
    ) -> None:
        """An LM has answered or failed."""

    def on_adapter_format_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """An adapter writes the prompt."""

    def on_adapter_format_end(
        self, call_id: str, outputs: dict[str, Any] | None, exception: BaseException | None = None
    ) -> None:
        """An adapter has written the prompt."""

    def on_adapter_parse_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """An adapter reads the model's answer."""

    def on_adapter_parse_end(
        self, call_id: str, outputs: dict[str, Any] | None, exception: BaseException | None = None
    ) -> None:
        """An adapter has read the model's answer, or could not."""

    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A tool is called."""

    def on_tool_end(
        self, call_id: str, outputs: dict[str, Any] | None, exception: BaseException | None = None
    ) -> None:
        """A tool has returned or raised."""

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """An evaluation starts."""

    def on_evaluate_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        """An evaluation has ended."""

    def on_interpreter_execute_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """An interpreter runs code."""

    def on_interpreter_execute_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        """An interpreter has run code."""

    def on_interpreter_tool_call_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Code inside an interpreter calls a tool."""

    def on_interpreter_tool_call_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        """A tool called from inside an interpreter has returned or raised."""

    def on_interpreter_startup_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """An interpreter starts."""

    def on_interpreter_startup_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        """An interpreter has started."""

    def on_interpreter_shutdown_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """An interpreter is being shut down."""

    def on_interpreter_shutdown_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        """An interpreter has been shut down."""

    def on_compile_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """An optimizer starts to compile a program."""

    def on_compile_end(self, call_id: str, outputs: Any | None, exception: Exception | None = None) -> None:
        """An optimizer has compiled a program."""


def active_callbacks(instance: object) -> Sequence[Any]:
    """The callbacks that hear of `instance` here: the global ones, then its own. Empty for most programs."""
    everyones: Sequence[Any] = settings.get("callbacks")
    own: Sequence[Any] = getattr(instance, "callbacks", ())
    if not own:
        return everyones
    return [*everyones, *own]


def with_callbacks(fn: F) -> F:
    """Tell callbacks when this method, sync or async, starts and ends; see the module's docstring."""
    signature = inspect.signature(fn)
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def awaited(instance: Any, *args: Any, **kwargs: Any) -> Any:
            callbacks = active_callbacks(instance)
            if not callbacks:
                return await cast("Awaitable[Any]", fn(instance, *args, **kwargs))
            call = _Call(instance, fn, callbacks, _arguments(signature, instance, args, kwargs))
            outputs, exception = None, None
            try:
                outputs = await cast("Awaitable[Any]", fn(instance, *args, **kwargs))
            except BaseException as error:
                exception = error
                raise
            finally:
                call.end(outputs, exception)
            return outputs

        return cast("F", awaited)

    @functools.wraps(fn)
    def called(instance: Any, *args: Any, **kwargs: Any) -> Any:
        callbacks = active_callbacks(instance)
        if not callbacks:
            return fn(instance, *args, **kwargs)
        call = _Call(instance, fn, callbacks, _arguments(signature, instance, args, kwargs))
        outputs, exception = None, None
        try:
            outputs = fn(instance, *args, **kwargs)
        except BaseException as error:
            exception = error
            raise
        finally:
            call.end(outputs, exception)
        return outputs

    return cast("F", called)


def bind_active_call_id(fn: F) -> F:
    """`fn`, under the call id in force now: for threads that do not inherit context variables."""
    parent = ACTIVE_CALL_ID.get()

    @functools.wraps(fn)
    def bound(*args: Any, **kwargs: Any) -> Any:
        token = ACTIVE_CALL_ID.set(parent)
        try:
            return fn(*args, **kwargs)
        finally:
            ACTIVE_CALL_ID.reset(token)

    return cast("F", bound)


class _Call:
    """One call that callbacks are told of. Making it is its start."""

    __slots__ = ("callbacks", "fn", "id", "instance", "parent")

    def __init__(
        self, instance: object, fn: Callable[..., Any], callbacks: Sequence[Any], inputs: dict[str, Any]
    ) -> None:
        self.instance = instance
        self.fn = fn
        self.callbacks = callbacks
        self.id = uuid.uuid4().hex
        for callback in callbacks:
            try:
                _handler(callback, instance, fn, "start")(call_id=self.id, instance=instance, inputs=inputs)
            except Exception as error:
                logger.warning("Error when calling callback %s: %s", callback, error)
        self.parent = ACTIVE_CALL_ID.get()
        ACTIVE_CALL_ID.set(self.id)

    def end(self, outputs: object, exception: BaseException | None) -> None:
        # Set, not reset by token: an async generator's clean-up may run in another context than its start.
        ACTIVE_CALL_ID.set(self.parent)
        for callback in self.callbacks:
            try:
                _handler(callback, self.instance, self.fn, "end")(
                    call_id=self.id, outputs=outputs, exception=exception
                )
            except Exception as error:
                logger.warning(
                    "Error when applying callback %s's end handler on function %s: %s.",
                    callback,
                    self.fn.__name__,
                    error,
                )


def _arguments(
    signature: inspect.Signature, instance: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    bound = signature.bind(instance, *args, **kwargs)
    bound.apply_defaults()
    inputs = dict(bound.arguments)
    del inputs[next(iter(inputs))]  # the instance, which handlers get by itself
    return inputs


def _handler(callback: object, instance: object, fn: Callable[..., Any], moment: str) -> Callable[..., None]:
    kind = str(getattr(instance, "callback_kind", "module"))
    if kind == "adapter":
        if fn.__name__ not in _ADAPTER_METHODS:
            raise ValueError(f"Unsupported adapter method for using callback: {fn.__name__}.")
        kind = f"adapter_{fn.__name__}"
    elif kind == "interpreter":
        kind = f"interpreter_{_INTERPRETER_OPERATIONS[fn.__name__]}"
    return getattr(callback, f"on_{kind}_{moment}")
