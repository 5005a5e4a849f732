"""The native side of a program: how it is made, again at each restart, and what is wrong with one that cannot be."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from .. import engine
from ..engine import Module
from .errors import BadProgram
from .fitting import load_fitting
from .native_copies import native_copy

Kind = Literal["Predict", "ChainOfThought"]
"""What a program around a signature is made of."""

KINDS: Final[tuple[Kind, ...]] = ("Predict", "ChainOfThought")

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@final
@dataclass(frozen=True, slots=True)
class NativeSide:
    """Makes the module of one program: ``source`` makes what ``named`` names, ``state`` is loaded into it.

    Raises BadProgram for what is no module, and for a state that is another program's.
    """

    program: str
    named: str
    source: Callable[[], object]
    state: Mapping[str, object] | None

    def __call__(self) -> Module:
        made = self.source()
        if not isinstance(made, Module):
            raise BadProgram(
                self.program, f"{self.named} gave a {type(made).__name__}, and a module of the namespace is needed"
            )
        if self.state is not None:
            load_fitting(self.program, made, self.state)
        return made

    def tried(self) -> NativeSide:
        """Itself, after it was made once: what is wrong with it is raised here, as BadProgram."""
        try:
            self()
        except BadProgram:
            raise
        except Exception as error:
            raise BadProgram(self.program, f"{self.named} failed ({type(error).__name__}: {error})") from error
        return self


def of_signature(
    program: str, signature: Any, kind: Kind, instructions: str | None, state: Mapping[str, object] | None
) -> NativeSide:
    """A predictor around a signature. Raises BadProgram, and what the signature is refused with."""
    if kind not in KINDS:
        raise BadProgram(program, f"module= is one of {', '.join(KINDS)}, not {kind!r}")
    made = engine.make_signature(signature, instructions) if isinstance(signature, str) else signature
    side = NativeSide(program, f"{kind}({signature!r})", lambda: getattr(engine, kind)(made), state)
    return side.tried()


def of_factory(program: str, path: str, state: Mapping[str, object] | None) -> NativeSide:
    """What a function of ours makes of the namespace it is given. Raises BadProgram."""
    factory: Any = _found(program, path, importlib.import_module)
    try:
        inspect.signature(factory).bind(engine)
    except TypeError as error:
        raise BadProgram(program, f"{path} must take one argument, the namespace ({error})") from error
    return NativeSide(program, path, lambda: factory(engine), state).tried()


def of_module(program: str, path: str, state: Mapping[str, object] | None) -> NativeSide:
    """What stands in a module that says `import dspy`: a program, or what makes one. Raises BadProgram."""
    found: Any = _found(program, path, native_copy)

    def make() -> object:
        if isinstance(found, Module):
            return found.deepcopy()  # each start has its own, as it was when it was imported
        return found(*_wanted(found))

    if not isinstance(found, Module) and not callable(found):
        raise BadProgram(program, f"{path} is a {type(found).__name__}: name a program, or what makes one")
    return NativeSide(program, path, make, state).tried()


def _found(program: str, path: str, load: Callable[[str], Any]) -> Any:
    module_name, _, attribute = path.partition(":")
    try:
        return getattr(load(module_name), attribute)
    except Exception as error:  # whatever running the module raises
        raise BadProgram(program, f"{path} cannot be imported ({type(error).__name__}: {error})") from error


def _wanted(factory: Any) -> tuple[object, ...]:
    """A factory that must be given something is given the namespace, as in a worker."""
    parameters = inspect.signature(factory).parameters.values()
    needed = [each for each in parameters if each.default is each.empty and each.kind in _POSITIONAL]
    return (engine,) if len(needed) == 1 else ()
