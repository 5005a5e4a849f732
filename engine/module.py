"""`Module`: a program made of predictors and other modules.

    class Answer(Module):
        def __init__(self):
            super().__init__()
            self.think = ChainOfThought("question -> answer")

        async def aforward(self, question):
            return await self.think.acall(question=question)

    await Answer().acall(question="2+2?")       # in async code
    Answer()(question="2+2?")                   # anywhere else

A program defines `aforward`, or `forward` in the synchronous style of dspy, or both. Called the other way round, a
single definition still works: `aforward` under a synchronous call runs by `run_sync`; `forward` under `acall` runs in a
worker thread whose synchronous calls come back to the event loop, so that it blocks nothing and is cancelled with its
caller at the next call it makes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, Self, TextIO, cast

import anyio
import anyio.to_thread

from .base_module import BaseModule
from .callbacks import with_callbacks
from .example import Example, Prediction
from .forward import Forward, forward_of
from .lm.history import print_history
from .logs import engine_logger
from .parallel import Parallel
from .paths import set_at
from .settings import settings
from .sync import run_sync
from .turns import take_turn
from .usage import track_usage

if TYPE_CHECKING:
    from .lm import BaseLM
    from .lm.history import HistoryEntry

__all__ = ["Module"]

logger = engine_logger("dspex.engine.module", dspy="dspy.primitives.module")


class _ModuleMeta(type):
    """Gives every module its attributes, also when a subclass forgets `super().__init__()`."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        make: Any = cls.__new__  # a user's own __new__ may take the constructor's arguments
        made: Any = make(cls) if make is object.__new__ else make(cls, *args, **kwargs)
        if isinstance(made, cls):
            initial: dict[str, Any] = {"_compiled": False, "callbacks": [], "history": []}
            for name, value in initial.items():
                setattr(made, name, value)
            type(made).__init__(made, *args, **kwargs)
        return made


class Module(BaseModule, metaclass=_ModuleMeta):
    """Base class of programs.

    Attributes:
        history: the LM calls made while this module was running, newest last.
    """

    callbacks: list[object]
    history: list[HistoryEntry]
    _compiled: bool

    def __init__(self, callbacks: Sequence[object] | None = None) -> None:
        self.callbacks = cast("list[object]", callbacks or [])
        self.history = []
        self._compiled = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls).get("forward")
        if isinstance(own, FunctionType):
            setattr(cls, "forward", Forward(own))  # noqa: B010 - to the type checker it stays the function

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("history", None)
        state.pop("callbacks", None)
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update({"history": [], "callbacks": [], **state})

    # -- calling -----------------------------------------------------------------------------------------------------

    @with_callbacks
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program from synchronous code.

        Raises:
            SyncInsideLoopError: a predictor was reached on a running event loop; await `acall` there.
        """
        forward = getattr(self, "forward", None)
        if forward is None:
            if getattr(self, "aforward", None) is None:
                raise self._nothing_to_run("forward")
            if type(self).acall is not Module.acall:
                return run_sync(self.acall, *args, **kwargs)
            # The callbacks have been told by this call; a second time would be one too many.
            return run_sync(inspect.unwrap(Module.acall), self, *args, **kwargs)
        with settings.context(caller_modules=self._callers()):
            if not self._counts_usage():
                return forward(*args, **kwargs)
            with track_usage() as usage:
                output = forward(*args, **kwargs)
            self._set_lm_usage(usage.get_total_tokens(), output)
            return output

    @with_callbacks
    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program. Cancellation reaches the LM request in flight."""
        await take_turn()
        aforward = getattr(self, "aforward", None)
        if aforward is None:
            forward = forward_of(self)
            if forward is None:
                raise self._nothing_to_run("aforward")
            aforward = partial(_in_thread, forward)
        with settings.context(caller_modules=self._callers()):
            if not self._counts_usage():
                return await aforward(*args, **kwargs)
            with track_usage() as usage:
                output = await aforward(*args, **kwargs)
            self._set_lm_usage(usage.get_total_tokens(), output)
            return output

    def _nothing_to_run(self, missing: str) -> AttributeError:
        return AttributeError(
            f"'{type(self).__name__}' object has no attribute '{missing}': define `aforward` (or `forward`) in it."
        )

    def _callers(self) -> list[Module]:
        return [*(settings.get("caller_modules") or ()), self]

    def _counts_usage(self) -> bool:
        """Only the outermost module of a tracked call opens a tracker; the inner ones count into it."""
        return bool(settings.get("track_usage")) and settings.get("usage_tracker") is None

    def _set_lm_usage(self, tokens: dict[str, dict[str, Any]], output: object) -> None:
        candidate: object = output
        if isinstance(output, tuple) and output:
            candidate = cast("tuple[object, ...]", output)[0]
        if isinstance(candidate, Prediction):
            candidate.set_lm_usage(tokens)
        else:
            logger.warning(
                "Failed to set LM usage. Please return `dspy.Prediction` object from dspy.Module to enable usage tracking."
            )

    # -- many calls --------------------------------------------------------------------------------------------------------

    def batch(
        self,
        examples: Sequence[Example],
        num_threads: int | None = None,
        max_errors: int | None = None,
        return_failed_examples: bool = False,
        provide_traceback: bool | None = None,
        disable_progress_bar: bool = False,
        timeout: float = 120,
        straggler_limit: int = 3,
    ) -> Any:
        """`abatch` from synchronous code."""
        parallel = Parallel(
            num_threads=num_threads,
            max_errors=max_errors,
            return_failed_examples=return_failed_examples,
            provide_traceback=provide_traceback,
            disable_progress_bar=disable_progress_bar,
            timeout=timeout,
            straggler_limit=straggler_limit,
        )
        return parallel([(self, example.inputs()) for example in examples])

    async def abatch(self, examples: Sequence[Example], **options: Any) -> Any:
        """Run the program over the inputs of many examples, some at a time.

        Args:
            **options: those of `Parallel`, which also says what is returned and raised.
        """
        parallel = Parallel(**options)
        return await parallel.acall([(self, example.inputs()) for example in examples])

    # -- its predictors -----------------------------------------------------------------------------------------------------

    def named_predictors(self) -> list[tuple[str, Any]]:
        """Every `Predict` with its path."""
        # Every parameter with a signature is a predictor; Predict is defined above this file.
        return [(name, each) for name, each in self.named_parameters() if hasattr(each, "signature")]

    def predictors(self) -> list[Any]:
        """The predictors, without their names."""
        return [predictor for _, predictor in self.named_predictors()]

    def map_named_predictors(self, func: Callable[[Any], Any]) -> Self:
        """Replace every predictor by `func(predictor)`, in place."""
        for name, predictor in self.named_predictors():
            set_at(self, name, func(predictor))
        return self

    def set_lm(self, lm: BaseLM | None) -> None:
        """Let every predictor of this program use `lm`. None returns them to `settings.lm`."""
        for _, parameter in self.named_parameters():
            if isinstance(parameter, Module):
                cast("Any", parameter).lm = lm

    def get_lm(self) -> Any:
        """The LM that all predictors of this program use, or None.

        Raises:
            ValueError: they do not all use the same one, or there are none.
        """
        used: list[Any] = [cast("Any", each).lm for each in self.parameters() if isinstance(each, Module)]
        if used and all(lm is used[0] for lm in used):
            return used[0]
        raise ValueError("Multiple LMs are being used in the module. There's no unique LM to return.")

    # -- many calls, and a look at them ------------------------------------------------------------------------------

    def batch(
        self,
        examples: Sequence[Example],
        num_threads: int | None = None,
        max_errors: int | None = None,
        return_failed_examples: bool = False,
        provide_traceback: bool | None = None,
        disable_progress_bar: bool = False,
        timeout: float = 120,
        straggler_limit: int = 3,
    ) -> Any:
        """Run the program on the inputs of every example, `num_threads` at a time; see `Parallel` for the arguments.

        Returns:
            The results in order, None where one failed; with `return_failed_examples` a tuple of these, the failed
            examples and their exceptions.

        Raises:
            ValueError: an example has no inputs marked.
            Exception: `max_errors` examples failed.
            SyncInsideLoopError: on a running event loop; await `Parallel(...).acall(...)` there.
        """
        pairs = [(self, example.inputs()) for example in examples]
        return Parallel(
            num_threads=num_threads,
            max_errors=max_errors,
            return_failed_examples=return_failed_examples,
            provide_traceback=provide_traceback,
            disable_progress_bar=disable_progress_bar,
            timeout=timeout,
            straggler_limit=straggler_limit,
        ).forward(pairs)

    def inspect_history(self, n: int = 1, file: TextIO | None = None) -> None:
        """Print the last `n` LM calls made while this module ran. With `file`, there, and without colours."""
        print_history(self.history, n, file=file)

    def __repr__(self) -> str:
        return "\n".join(f"{name} = {predictor}" for name, predictor in self.named_predictors())


async def _in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a synchronous `forward` off the loop. Cancelled, it waits for the thread, whose call in flight is cancelled.

    Each has a place of its own among the threads: what it calls may need threads too, and would wait for ever for
    places that its callers hold.
    """
    call = partial(function, *args, **kwargs)
    return await anyio.to_thread.run_sync(call, limiter=anyio.CapacityLimiter(1))
