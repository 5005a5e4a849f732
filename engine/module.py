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

import copy as copying
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast

import anyio.to_thread

from .example import Prediction
from .paths import set_at
from .saved_state import StateMismatchError, read_state, write_state
from .settings import settings
from .sync import run_sync
from .usage import track_usage

if TYPE_CHECKING:
    from .lm import BaseLM
    from .lm.history import HistoryEntry

__all__ = ["Module", "Parameter"]

logger = logging.getLogger("dspex.engine.module")


class Parameter:
    """Marks what optimizers change and state files hold. `Predict` is one."""


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


class Module(metaclass=_ModuleMeta):
    """Base class of programs.

    Attributes:
        history: the LM calls made while this module was running, newest last.
    """

    callbacks: list[object]
    history: list[HistoryEntry]
    _compiled: bool

    def __init__(self, callbacks: Sequence[object] | None = None) -> None:
        if callbacks:
            raise NotImplementedError("callbacks: dspex.engine does not call them yet. Leave them out.")
        self.callbacks = []
        self.history = []
        self._compiled = False

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("history", None)
        state.pop("callbacks", None)
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update({"history": [], "callbacks": [], **state})

    # -- calling -----------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program from synchronous code.

        Raises:
            SyncInsideLoopError: a predictor was reached on a running event loop; await `acall` there.
        """
        forward = getattr(self, "forward", None)
        if forward is None:
            if getattr(self, "aforward", None) is None:
                raise self._nothing_to_run("forward")
            return run_sync(self.acall, *args, **kwargs)
        with settings.context(caller_modules=self._callers()):
            if not self._counts_usage():
                return forward(*args, **kwargs)
            with track_usage() as usage:
                output = forward(*args, **kwargs)
            self._set_lm_usage(usage.get_total_tokens(), output)
            return output

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program. Cancellation reaches the LM request in flight."""
        aforward = getattr(self, "aforward", None)
        if aforward is None:
            forward = getattr(self, "forward", None)
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

    def _callers(self) -> tuple[Module, ...]:
        return (*(settings.caller_modules or ()), self)

    def _counts_usage(self) -> bool:
        """Only the outermost module of a tracked call opens a tracker; the inner ones count into it."""
        return bool(settings.track_usage) and settings.usage_tracker is None

    def _set_lm_usage(self, tokens: dict[str, dict[str, Any]], output: object) -> None:
        candidate: object = output
        if isinstance(output, tuple) and output:
            candidate = cast("tuple[object, ...]", output)[0]
        if isinstance(candidate, Prediction):
            candidate.set_lm_usage(tokens)
        else:
            logger.warning(
                "Failed to set LM usage. Please return a `Prediction` object from the Module to enable usage tracking."
            )

    # -- what is inside ----------------------------------------------------------------------------------------------

    def named_parameters(self) -> list[tuple[str, Any]]:
        """Every parameter with its path: attributes, then items of lists, tuples and dicts one level deep.

        A module whose `_compiled` is true is frozen: its parameters are left out. The module itself, when it is a
        parameter, is named "self". Each object appears once, under the first path found.
        """
        found: list[tuple[str, Any]] = []
        seen: set[int] = set()

        def add(name: str, value: object) -> None:
            if isinstance(value, Parameter):
                if id(value) not in seen:
                    seen.add(id(value))
                    found.append((name, value))
            elif isinstance(value, Module) and not getattr(value, "_compiled", False):
                for inner, parameter in value.named_parameters():
                    add(f"{name}.{inner}", parameter)

        if isinstance(self, Parameter):
            add("self", self)
        for name, value in self._contents():
            if isinstance(value, list | tuple):
                for index, item in enumerate(cast("Sequence[object]", value)):
                    add(f"{name}[{index}]", item)
            elif isinstance(value, dict):
                for key, item in cast("dict[object, object]", value).items():
                    add(f"{name}['{key}']", item)
            else:
                add(name, value)
        return found

    def _contents(self) -> list[tuple[str, object]]:
        """The attributes that may hold modules. History may hold 10,000 entries and never a module."""
        return [(name, value) for name, value in vars(self).items() if name not in ("history", "callbacks")]

    def parameters(self) -> list[Any]:
        """The parameters, without their names."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_predictors(self) -> list[tuple[str, Any]]:
        """Every `Predict` with its path."""
        return [(name, parameter) for name, parameter in self.named_parameters() if _is_predictor(parameter)]

    def predictors(self) -> list[Any]:
        """The predictors, without their names."""
        return [predictor for _, predictor in self.named_predictors()]

    def named_sub_modules(self, type_: type | None = None, skip_compiled: bool = False) -> Iterator[tuple[str, Any]]:
        """Every module inside, this one first as "self", breadth first, through lists and dicts of any depth.

        Args:
            type_: only objects of this type; default every `Module`.
            skip_compiled: do not look inside frozen modules.
        """
        wanted = type_ or Module
        queue: deque[tuple[str, object]] = deque([("self", self)])
        seen = {id(self)}

        def push(name: str, item: object) -> None:
            if id(item) not in seen:
                seen.add(id(item))
                queue.append((name, item))

        while queue:
            name, item = queue.popleft()
            if isinstance(item, wanted):
                yield name, item
            if isinstance(item, Module):
                if skip_compiled and getattr(item, "_compiled", False):
                    continue
                for inner, value in item._contents():
                    push(f"{name}.{inner}", value)
            elif isinstance(item, list | tuple):
                for index, value in enumerate(cast("Sequence[object]", item)):
                    push(f"{name}[{index}]", value)
            elif isinstance(item, dict):
                for key, value in cast("dict[object, object]", item).items():
                    push(f"{name}[{key}]", value)

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

    def __repr__(self) -> str:
        return "\n".join(f"{name} = {predictor}" for name, predictor in self.named_predictors())

    # -- copies ------------------------------------------------------------------------------------------------------

    def deepcopy(self) -> Self:
        """A deep copy. An attribute that cannot be copied is shared with the original, and that is logged."""
        try:
            return copying.deepcopy(self)
        except Exception:  # whatever a user's attribute raises from its __deepcopy__: then attribute by attribute
            pass
        made = type(self).__new__(type(self))
        for name, value in self.__dict__.items():
            if isinstance(value, Module):
                object.__setattr__(made, name, value.deepcopy())
                continue
            try:
                object.__setattr__(made, name, copying.deepcopy(value))
            except Exception:  # as above
                logger.warning(
                    "Attribute %r of %s cannot be deep-copied and is shared with the original.",
                    name,
                    type(self).__name__,
                )
                object.__setattr__(made, name, value)
        return made

    def reset_copy(self) -> Self:
        """A deep copy with every parameter reset: no demos, no LM of its own."""
        made = self.deepcopy()
        for parameter in made.parameters():
            parameter.reset()
        return made

    # -- state -------------------------------------------------------------------------------------------------------

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """The state of every parameter by its path, in dspy's layout."""
        return {name: parameter.dump_state(json_mode=json_mode) for name, parameter in self.named_parameters()}

    def load_state(self, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> Any:
        """Take over a state, ours or dspy's, whole or not at all. Entries without a parameter are ignored.

        Args:
            allow_unsafe_lm_state: also take endpoint addresses and custom LM classes from the state. Only for files
                you trust: they decide where your API key is sent and which code is imported.

        Raises:
            StateMismatchError: (a KeyError) the state has no entry for one of the parameters.
        """
        parameters = self.named_parameters()
        missing = [name for name, _ in parameters if name not in state]
        if missing:
            raise StateMismatchError(
                f"The saved state has no entry for {', '.join(map(repr, missing))}; it has "
                f"{', '.join(map(repr, (key for key in state if key != 'metadata')))}. Load it into the program it was "
                "saved from."
            )
        # A trial on a copy first: a bad entry must not leave half of the program changed.
        for program in (self.deepcopy(), self):
            for name, parameter in program.named_parameters():
                if isinstance(parameter, Module):
                    parameter.load_state(state[name], allow_unsafe_lm_state=allow_unsafe_lm_state)
                else:
                    parameter.load_state(state[name])
        return None

    def save(
        self, path: str | os.PathLike[str], save_program: bool = False, modules_to_serialize: object = None
    ) -> None:
        """Write the state to a `.json` file that dspy can load, whole or not at all. Credentials are never in it.

        Raises:
            ValueError: the path does not end with .json, or the whole program was asked for: that would be a pickle.
            RuntimeError: a demo holds what JSON cannot.
        """
        if save_program or modules_to_serialize:
            raise ValueError(
                "save_program=True is not offered: the file would be a pickle, which runs code when loaded. Save the "
                "state as .json and build the program in code."
            )
        write_state(path, self.dump_state(), fields=self._field_names())

    def load(
        self, path: str | os.PathLike[str], allow_pickle: bool = False, allow_unsafe_lm_state: bool = False
    ) -> None:
        """Read a `.json` state file, ours or dspy's. `allow_pickle` is accepted and changes nothing.

        Raises:
            ValueError: not a .json path, or not a state file.
            StateMismatchError: (a KeyError) the file lacks a parameter of this program, which stays as it was.
        """
        state = read_state(path, fields=self._field_names())
        self.load_state(state, allow_unsafe_lm_state=allow_unsafe_lm_state)

    def _field_names(self) -> dict[str, list[str]]:
        return {name: list(predictor.signature.fields) for name, predictor in self.named_predictors()}


def _is_predictor(parameter: object) -> bool:
    # Every parameter with a signature is a predictor; Predict is defined above this file.
    return isinstance(parameter, Parameter) and hasattr(parameter, "signature")


async def _in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))
