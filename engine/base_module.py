"""`BaseModule`: the part of a program that has nothing to do with calling it: what it contains, copies, saved state.

    for name, predictor in program.named_predictors(): ...
    fresh = program.reset_copy()
    program.save("program.json")

A program's parameters are found by walking its attributes, so that a program is an ordinary object: no registration.
"""

from __future__ import annotations

import copy as copying
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

from .logs import engine_logger
from .pickles import PickleRefused
from .saved_state import StateMismatchError, read_state, write_state

__all__ = ["BaseModule", "Parameter"]

# dspy writes this one record with the root logger.
logger = engine_logger("dspex.engine.base_module", dspy="root")


class Parameter:
    """Marks what optimizers change and state files hold. `Predict` is one."""


class BaseModule:
    """What modules are made of; programs derive from `Module`."""

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
            elif isinstance(value, BaseModule) and not getattr(value, "_compiled", False):
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

    def named_sub_modules(self, type_: type | None = None, skip_compiled: bool = False) -> Iterator[tuple[str, Any]]:
        """Every module inside, this one first as "self", breadth first, through lists and dicts of any depth.

        Args:
            type_: only objects of this type; default every module.
            skip_compiled: do not look inside frozen modules.
        """
        wanted = type_ or BaseModule
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
            if isinstance(item, BaseModule):
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

    # -- copies ------------------------------------------------------------------------------------------------------

    def deepcopy(self) -> Self:
        """A deep copy. An attribute that cannot be copied deeply is copied shallowly, or else shared with the original, and
        that is logged.
        """
        try:
            return copying.deepcopy(self)
        except Exception:  # whatever a user's attribute raises from its __deepcopy__: then attribute by attribute
            pass
        made = type(self).__new__(type(self))
        for name, value in self.__dict__.items():
            if isinstance(value, BaseModule):
                object.__setattr__(made, name, value.deepcopy())
                continue
            try:
                object.__setattr__(made, name, copying.deepcopy(value))
            except Exception:  # as above
                logger.warning(
                    f"Failed to deep copy attribute '{name}' of {type(self).__name__}, "
                    "falling back to shallow copy or reference copy."
                )
                object.__setattr__(made, name, _shallow(value))
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
        # A bad entry must not leave half of the program changed. A predictor can say beforehand what it would take over;
        # for a parameter that cannot, all is tried on a copy first.
        if all(_prepares(parameter) for _, parameter in parameters):
            prepared = [
                parameter.prepared_state(state[name], allow_unsafe_lm_state=allow_unsafe_lm_state)
                for name, parameter in parameters
            ]
            for take_over in prepared:
                take_over()
            return None
        for program in (self.deepcopy(), self):
            for name, parameter in program.named_parameters():
                if isinstance(parameter, BaseModule):
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
        if save_program:
            if Path(path).suffix:
                raise ValueError(
                    f"`path` must point to a directory without a suffix when `save_program=True`, but received: {path}. (And "
                    "dspex.engine does not save whole programs.)"
                )
            raise PickleRefused(
                "save_program=True is not offered: the file would be a pickle, and loading one runs code from the file. Save "
                "the state as .json and build the program in code."
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
        """The fields of each predictor. Every parameter with a signature is one."""
        named = ((name, getattr(parameter, "signature", None)) for name, parameter in self.named_parameters())
        return {name: [spec.name for spec in signature.specs] for name, signature in named if signature is not None}


def _prepares(parameter: object) -> bool:
    """Whether `prepared_state` says what `load_state` does: a subclass may have changed the one and not the other."""
    for cls in type(parameter).__mro__:
        if "load_state" in vars(cls):
            return "prepared_state" in vars(cls)
    return False


def _shallow(value: Any) -> Any:
    try:
        return copying.copy(value)
    except Exception:  # whatever a user's attribute raises: then both have the one object
        return value
