"""Programs whose types a checker knows: given by a typed function, or by a class signature.

    class Mood(TypedDict):
        mood: Literal["good", "bad"]
        sure: float

    @typed_program(module="ChainOfThought", idempotent=True)
    def mood(message: str) -> Mood:
        "Tell the mood of a message."

    class QA(Signature):
        question: str = InputField()
        answer: str = OutputField()

    qa = TypedProgram.of_class("qa", QA)
    app = Dspex([mood, qa])

A function says both sides: its parameters are the inputs, its docstring the instructions, the fields of what it returns (a
TypedDict, a dataclass, a pydantic model) the outputs; any other type is one output, called `answer`. Its body is not run.
A class signature says the outputs' types; no checker can turn a class's attributes into parameters, so its inputs are checked
when they are given. Workers are told of it as a signature string with a saved state: what cannot be said so is refused.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, cast, final, get_args, get_origin

from pydantic import BaseModel, TypeAdapter

from .. import engine
from ..engine import Prediction, Signature
from ..legacy import SignatureProgram
from . import native_sides
from .errors import BadProgram
from .native_sides import Kind
from .programs import ProgramSpec

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound=Signature)

_PLAIN: Final = (str, int, float, bool, list, dict, tuple, set)


@final
class TypedProgram(Generic[P, T]):
    """A ``ProgramSpec`` with the types of its inputs and outputs. Made by ``typed_program`` and ``of_class``."""

    __slots__ = ("_bind", "_read", "spec")

    def __init__(
        self, spec: ProgramSpec, bind: Callable[P, Mapping[str, object]], read: Callable[[Prediction], T]
    ) -> None:
        self.spec = spec
        """The program itself."""
        self._bind = bind
        self._read = read

    def inputs_of(self, *args: P.args, **kwargs: P.kwargs) -> Mapping[str, object]:
        """The arguments by name. Raises TypeError for those that do not fit."""
        return self._bind(*args, **kwargs)

    def output_of(self, prediction: Prediction) -> T:
        """The outputs in their type, whichever engine gave them. Raises pydantic's ValidationError, a ValueError."""
        return self._read(prediction)

    @staticmethod
    def of_class(
        name: str,
        signature: type[S],
        *,
        module: Kind = "Predict",
        state: Mapping[str, object] | None = None,
        idempotent: bool = False,
        concurrency: int = 8,
        legacy: bool = True,
    ) -> TypedProgram[..., S]:
        """A predictor around a class signature of our engine. ``output`` reads as an instance of it.

        ``legacy=False``: it runs natively only. Raises BadProgram, also for a signature that a worker cannot be told of.
        """
        spec = _spec(name, signature, module, state, idempotent, concurrency, legacy)
        to_values = _by_field({field: info.annotation for field, info in signature.output_fields.items()})
        inputs = tuple(signature.input_fields)

        def bind(*args: object, **kwargs: object) -> Mapping[str, object]:
            strange = [each for each in kwargs if each not in inputs]
            if args or strange:
                raise TypeError(f"{name!r} takes its inputs by name: {', '.join(inputs)}")
            return kwargs

        def read(prediction: Prediction) -> S:
            return cast(S, Prediction(**to_values(prediction)))

        return TypedProgram(spec, bind, read)


def typed_program(
    name: str | None = None,
    *,
    module: Kind = "Predict",
    state: Mapping[str, object] | None = None,
    idempotent: bool = False,
    concurrency: int = 8,
    legacy: bool = True,
) -> Callable[[Callable[P, T]], TypedProgram[P, T]]:
    """A decorator that makes a program of a function's signature and docstring; see the module. ``name``: the function's.

    The rest is as in ``TypedProgram.of_class``. Raises BadProgram for a parameter or result without a type.
    """

    def decorate(function: Callable[P, T]) -> TypedProgram[P, T]:
        called = name or function.__name__
        hints = typing.get_type_hints(function)
        given = inspect.signature(function)
        fields: dict[str, tuple[Any, Any]] = {}
        for parameter in given.parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name not in hints:
                raise BadProgram(called, f"the parameter {parameter} must be one input, with a type")
            fields[parameter.name] = (hints[parameter.name], engine.InputField())
        returned: Any = hints.get("return")
        if returned is None or returned is type(None):
            raise BadProgram(called, "the function must say what it returns")
        outputs = _fields_of(returned)
        for field, annotation in (outputs or {"answer": returned}).items():
            if field in fields:
                raise BadProgram(called, f"{field!r} is an input and an output")
            fields[field] = (annotation, engine.OutputField())
        signature = engine.make_signature(fields, inspect.getdoc(function), signature_name=called)
        to_type = _reader(returned, outputs)

        def bind(*args: P.args, **kwargs: P.kwargs) -> Mapping[str, object]:
            bound = given.bind(*args, **kwargs)
            bound.apply_defaults()
            return bound.arguments

        def read(prediction: Prediction) -> T:
            return to_type({field: prediction[field] for field in outputs or ("answer",)})

        spec = _spec(called, signature, module, state, idempotent, concurrency, legacy)
        return TypedProgram(spec, bind, read)

    return decorate


def _reader(returned: Any, outputs: Mapping[str, Any] | None) -> Callable[[Mapping[str, Any]], Any]:
    """Makes outputs by name into the type that a function says it returns."""
    if typing.is_typeddict(returned):  # pydantic takes those of `typing` from Python 3.12 on only
        return _by_field(outputs or {})
    adapter: TypeAdapter[Any] = TypeAdapter(returned)
    if outputs is None:
        return lambda values: adapter.validate_python(values["answer"])
    return adapter.validate_python


def _by_field(annotations: Mapping[str, Any]) -> Callable[[Any], dict[str, Any]]:
    adapters = {field: TypeAdapter[Any](annotation) for field, annotation in annotations.items()}
    return lambda values: {field: adapter.validate_python(values[field]) for field, adapter in adapters.items()}


def _fields_of(returned: Any) -> dict[str, Any] | None:
    """The outputs, where a type has fields; None: it is one output itself."""
    structured: bool = (
        typing.is_typeddict(returned)
        or (isinstance(returned, type) and dataclasses.is_dataclass(returned))
        or (isinstance(returned, type) and issubclass(returned, BaseModel))
    )
    return typing.get_type_hints(cast("type", returned)) if structured else None


def _spec(
    name: str,
    signature: type[Signature],
    kind: Kind,
    state: Mapping[str, object] | None,
    idempotent: bool,
    concurrency: int,
    legacy: bool,
) -> ProgramSpec:
    native = native_sides.of_signature(name, signature, kind, None, state)
    side = None
    if legacy:
        told = {**native().dump_state(), **(state or {})}
        side = SignatureProgram(
            _told(name, signature),
            module=kind,
            instructions=signature.instructions,
            state=told,
            idempotent=idempotent,
        )
    return ProgramSpec(name, native=native, legacy=side, concurrency=concurrency)


def _told(name: str, signature: type[Signature]) -> str:
    """The signature as a string that means the same to dspy. Raises BadProgram if there is none."""
    sides: list[str] = []
    for fields in (signature.input_fields, signature.output_fields):
        spoken: list[str] = []
        for field, info in fields.items():
            text = _spelled(info.annotation)
            extra: Any = info.json_schema_extra or {}
            if text is None or extra.get("constraints"):
                raise BadProgram(
                    name,
                    f"a worker cannot be told of its field {field!r}: give legacy=False, or write the program in a module "
                    "that says `import dspy` (ProgramSpec.of_module)",
                )
            spoken.append(f"{field}: {text}")
        sides.append(", ".join(spoken))
    return " -> ".join(sides)


def _spelled(annotation: Any) -> str | None:
    """A type in the words of a signature string; None: it has none there."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if annotation is Any:
        return "Any"
    if annotation is type(None):
        return "None"
    inner = [_spelled(each) for each in args]
    if None in inner:
        return None
    listed = ", ".join(cast("list[str]", inner))
    if origin in (typing.Union, types.UnionType):
        return f"Union[{listed}]"
    kind = origin or annotation
    if kind not in _PLAIN:
        return None
    return f"{kind.__name__}[{listed}]" if args else kind.__name__
