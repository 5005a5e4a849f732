"""Values of dspy and of users' models, to the wire and back: by the name of their class and their fields.

Out: dspy's own types, pydantic models and numpy arrays become `wire.Typed` and `wire.Array`; enums their values; dates,
decimals, UUIDs and paths the text that pydantic gives them. In: a `Typed` becomes an object again if its name is one of
dspy's types below, or of a model class that the called program's own signatures mention. No name is ever imported.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import sys
import typing
from typing import Any, cast

from . import wire

DSPY_TYPES = (
    "Image", "Audio", "File", "History", "Code", "Reasoning", "Tool", "ToolCalls", "ToolCalls.ToolCall", "Example",
    "Prediction",
)  # fmt: skip


class Values:
    """The codec of one dspy."""

    def __init__(self, dspy: Any) -> None:
        self._dspy = dspy
        self._classes: dict[str, Any] = {}
        for name in DSPY_TYPES:
            found: Any = dspy
            for part in name.split("."):
                found = getattr(found, part, None)
            if isinstance(found, type):
                self._classes[f"dspy.{name}"] = found
        self._names = {found: name for name, found in self._classes.items()}

    # --- out --------------------------------------------------------------------------------------------------------

    def out(self, value: Any, path: str) -> Any:
        """The wire form. Raises `wire.Unencodable`, naming the place."""
        return wire.to_wire(value, path, self._step)

    def _step(self, value: Any, path: str) -> Any:
        """One step towards plain data. Fields keep their own names, whatever their aliases."""
        kind = cast("type[object]", type(value))
        name = self._names.get(kind, f"{kind.__module__}:{kind.__qualname__}")
        reasoning = self._classes.get("dspy.Reasoning")
        if reasoning is not None and isinstance(value, reasoning):
            return str(value)  # a string by dspy's own description of the type
        if isinstance(value, self._dspy.Example):
            return wire.Typed(name, dict(value.items(include_dspy=True)))
        model_fields: Any = getattr(kind, "model_fields", None)
        if isinstance(model_fields, dict):
            # Read one by one: dspy's own types serialise to prompt text.
            names = cast("dict[str, Any]", model_fields)
            extra = cast("dict[str, Any]", getattr(cast("object", value), "model_extra", None) or {})
            fields = {field: getattr(cast("object", value), field) for field in names}
            return wire.Typed(name, {**fields, **extra})
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return wire.Typed(name, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
        if isinstance(value, enum.Enum):
            return value.value
        if kind.__module__ == "numpy" and hasattr(value, "dtype"):
            return _of_numpy(value, path)
        if callable(value):
            raise wire.Unencodable(path, kind.__name__, f"a {kind.__name__} cannot travel to another process")
        pydantic: Any = importlib.import_module("pydantic")
        try:
            return pydantic.TypeAdapter(kind).dump_python(value, mode="json")  # dates, decimals, UUIDs, paths
        except Exception as error:
            raise wire.Unencodable(
                path, kind.__name__, f"a {kind.__module__}.{kind.__qualname__} cannot be told to the host"
            ) from error

    # --- in ---------------------------------------------------------------------------------------------------------

    def back(self, value: Any, program: Any = None) -> Any:
        """The value with its `Typed` and `Array` parts made into objects of this process, where the class is known.

        Raises what the class raises for fields that it does not take.
        """
        if isinstance(value, wire.Typed):
            known = self._classes.get(value.name) or (self._models_of(program).get(value.name) if program else None)
            fields = {name: self.back(item, program) for name, item in value.fields.items()}
            return fields if known is None else known(**fields)
        if isinstance(value, wire.Array):
            numpy: Any = importlib.import_module("numpy")
            return numpy.frombuffer(value.data, dtype=value.dtype).reshape(value.shape).copy()
        if isinstance(value, list):
            return [self.back(item, program) for item in cast("list[Any]", value)]
        if isinstance(value, tuple):
            return tuple(self.back(item, program) for item in cast("tuple[Any, ...]", value))
        if isinstance(value, dict):
            return {name: self.back(item, program) for name, item in cast("dict[Any, Any]", value).items()}
        return value

    @staticmethod
    def _models_of(program: Any) -> dict[str, Any]:
        """The model classes that the program's signatures mention, by the name that `out` gives them."""
        found: dict[str, Any] = {}

        def look(annotation: Any) -> None:
            for argument in typing.get_args(annotation):
                look(argument)
            if isinstance(annotation, type):
                name = f"{annotation.__module__}:{annotation.__qualname__}"
                fields: Any = getattr(annotation, "model_fields", None)
                if name not in found and (isinstance(fields, dict) or dataclasses.is_dataclass(annotation)):
                    found[name] = annotation
                    for field in cast("dict[str, Any]", fields or {}).values():
                        look(field.annotation)

        for _, predictor in program.named_predictors():
            for field in predictor.signature.fields.values():
                look(field.annotation)
        return found


def _of_numpy(value: Any, path: str) -> Any:
    numpy: Any = sys.modules["numpy"]
    if not isinstance(value, numpy.ndarray):
        return value.item()  # a scalar
    if value.dtype.hasobject or value.dtype.names:
        raise wire.Unencodable(path, "ndarray", f"an array of {value.dtype} cannot travel; numbers and bools can")
    return wire.Array(value.dtype.str, tuple(value.shape), numpy.ascontiguousarray(value).tobytes())
