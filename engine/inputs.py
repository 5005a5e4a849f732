"""Which inputs a program cannot do without, checked where a request enters from outside.

Inside a program a missing input is only logged, as in dspy: the model may cope. A request that arrives at an actor or
an application is different: its sender should hear what is missing, and no token should be spent on it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from .failure import EngineError
from .forward import forward_of
from .module import Module
from .modules import RLM, BestOfN, ChainOfThought, ProgramOfThought, ReAct, ReActV2, Refine
from .predict import Predict
from .value_types import allows_none

__all__ = ["MissingInputError", "check_inputs", "required_inputs"]


class MissingInputError(EngineError, ValueError):
    """A request lacks inputs. Nothing was asked of any model.

    Attributes:
        missing: the absent fields, in the program's order.
        given: the names that were given.
    """

    default_code = "missing_input"

    def __init__(self, program: str, *, missing: tuple[str, ...], given: tuple[str, ...]) -> None:
        self.missing = missing
        self.given = given
        names = ", ".join(f"`{name}`" for name in missing)
        had = ", ".join(f"`{name}`" for name in given) or "nothing"
        super().__init__(f"{program} needs {names}, which the request lacks (it gave {had}). Add the missing fields.")


def required_inputs(program: Module) -> tuple[str, ...]:
    """The inputs without which `program` cannot be called, in order.

    For a predictor or agent: the inputs of its signature that have no default and do not admit None. For `BestOfN` and
    `Refine`: those of the program they run. For a module of the user's:
    the parameters of its `aforward` (or `forward`) that have no default; a bare `**kwargs` demands nothing.
    """
    if isinstance(program, BestOfN | Refine):
        return required_inputs(program.module)
    if isinstance(program, ChainOfThought):
        program = program.predict
    if isinstance(program, Predict | ReAct | ReActV2 | ProgramOfThought | RLM):
        return tuple(
            spec.name
            for spec in program.signature.specs
            if spec.kind == "input" and spec.required and not allows_none(spec.annotation)
        )
    run: Any = getattr(program, "aforward", None) or forward_of(program)
    if run is None:
        return ()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(
        name
        for name, parameter in inspect.signature(run).parameters.items()
        if parameter.default is inspect.Parameter.empty and parameter.kind in named
    )


def check_inputs(program: Module, inputs: Mapping[str, object]) -> None:
    """Refuse a request that lacks inputs.

    Raises:
        MissingInputError: with the names of all that are missing.
    """
    missing = tuple(name for name in required_inputs(program) if name not in inputs)
    if missing:
        raise MissingInputError(type(program).__name__, missing=missing, given=tuple(inputs))
