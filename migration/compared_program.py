"""What is compared: one program with both sides, and what is known of its inputs and outputs."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast, final

from ..engine import ChainOfThought, Module, Predict
from ..engine.forward import forward_of
from ..engine.inputs import required_inputs
from ..legacy import ImportedProgram
from ..router import BadProgram, ProgramSpec
from ..router.native_copies import native_copy
from .errors import NotComparable, ProgramNotFound

NAME: Final = "program"
"""What a program is called that is given by a path or a signature."""


@final
@dataclass(frozen=True, slots=True)
class ComparedProgram:
    """A spec with both sides. Its facts are those of the native side, made once."""

    spec: ProgramSpec
    shown: str
    """How it was named."""
    needed: tuple[str, ...]
    """Inputs without which it cannot be called."""
    inputs: tuple[str, ...] | None
    """All that it takes; None: any."""
    outputs: tuple[str, ...] | None
    """None: only a run could say."""
    types: Mapping[str, object]
    """Of fields that have one."""
    import_paths: tuple[str, ...]
    """Folders that a worker needs on its path, to import what this process imports."""


def compared_program(
    program: str | ProgramSpec | ComparedProgram,
    *,
    module: Literal["Predict", "ChainOfThought"] = "Predict",
    state: Mapping[str, object] | None = None,
) -> ComparedProgram:
    """Both sides of a program: an import path, a signature ("question -> answer", with ``module``), or a spec.

    Raises ProgramNotFound for what cannot be imported or is no program, NotComparable for one that has one side.
    """
    if isinstance(program, ComparedProgram):
        return program
    if isinstance(program, ProgramSpec):
        if state is not None:
            raise NotComparable("a ProgramSpec has its state already: state= goes with an import path or a signature")
        return _both(program, program.name)
    if not isinstance(program, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # comes from outside
        raise NotComparable(
            f"a {type(program).__name__} runs in this process only, and workers must make it too: "
            'give its import path ("package.module:name"), a signature ("question -> answer"), or a ProgramSpec'
        )
    try:
        if "->" in program:
            return _both(ProgramSpec.of_signature(NAME, program, module=module, state=state), program)
        return _both(_imported(program, state), program)
    except BadProgram as error:
        raise ProgramNotFound(program, str(error)) from error
    except ValueError as error:  # a signature that is none
        raise NotComparable(f"{program!r} is no signature: {error}") from error


def _imported(path: str, state: Mapping[str, object] | None) -> ProgramSpec:
    module_name, colon, attribute = path.partition(":")
    if not colon or not module_name or not attribute:
        raise ProgramNotFound(path, "it is no import path")
    try:
        imported = native_copy(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may raise anything, SystemExit included
        raise ProgramNotFound(path, f"it cannot be imported ({type(error).__name__}: {error})") from error
    try:
        found: object = getattr(imported, attribute)
    except AttributeError as error:
        raise ProgramNotFound(path, f"there is no `{attribute}` in it") from error
    if isinstance(found, ProgramSpec):
        if state is not None:
            raise NotComparable(f"{path} is a ProgramSpec and has its state already")
        return found
    return ProgramSpec.of_module(NAME, path, state=state)


def _both(spec: ProgramSpec, shown: str) -> ComparedProgram:
    if spec.native is None or spec.legacy is None:
        missing = "native" if spec.native is None else "legacy"
        raise NotComparable(f"{shown} has no {missing} side: give the spec {missing}=, or compare what its sides share")
    made = spec.native()
    needed = required_inputs(made)
    inputs, outputs, types = _fields(made)
    if outputs == ():
        raise NotComparable(f"{shown!r} has no outputs to compare: name them after the arrow")
    return ComparedProgram(spec, shown, needed, inputs, outputs, types, _folders(spec))


def _fields(made: Module) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None, Mapping[str, object]]:
    predictor = made.predict if isinstance(made, ChainOfThought) else made
    if isinstance(predictor, Predict):
        specs = predictor.signature.specs
        inputs = tuple(each.name for each in specs if each.kind == "input")
        outputs = tuple(each.name for each in specs if each.kind == "output")
        return inputs, outputs, {each.name: each.annotation for each in specs}
    run: Any = getattr(made, "aforward", None) or forward_of(made)
    if run is None:
        return None, None, {}
    parameters = inspect.signature(run).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return None, None, {}
    return tuple(each.name for each in parameters), None, {}


def _folders(spec: ProgramSpec) -> tuple[str, ...]:
    if not isinstance(spec.legacy, ImportedProgram):
        return ()
    top = spec.legacy.path.partition(":")[0].partition(".")[0]
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return ()
    if found is None:
        return ()
    if found.submodule_search_locations is not None:
        places = list(cast("Sequence[str]", found.submodule_search_locations))
        return (str(Path(places[0]).parent),) if places else ()
    return (str(Path(found.origin).parent),) if found.origin else ()
