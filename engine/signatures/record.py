"""The state of one signature class: its specs, and its public fields once someone has asked for them.

Specs are what the engine works with; the `FieldInfo`s are what programs read and, since dspy lets them, edit in place.
An edit is noticed when the specs are next asked for: they are then made anew from the fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pydantic
from pydantic.fields import FieldInfo

from .fields import FieldSpec


class Record:
    """Belongs to one signature class."""

    __slots__ = ("_infos", "_model", "_ordered", "_seen", "_specs", "instructions")

    def __init__(self, specs: tuple[FieldSpec, ...]) -> None:
        self._specs = specs
        self._ordered = _inputs_first(specs)
        self._infos: dict[str, FieldInfo] | None = None
        # For each spec, its public field and the options that field had when the spec was last true.
        self._seen: list[tuple[FieldInfo, dict[str, Any]]] = []
        self._model: type[pydantic.BaseModel] | None = None
        self.instructions: tuple[str, str] = ("", "")
        """The docstring of the class, and the same without its indentation."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Record, (self.declared(),)

    def ordered(self) -> tuple[FieldSpec, ...]:
        """The specs, inputs first. The same tuple object for as long as nothing was edited."""
        if self._infos is not None:
            for spec, (info, options) in zip(self._specs, self._seen, strict=True):
                if info.annotation is not spec.annotation or info.json_schema_extra != options:
                    self._read_back()
                    break
        return self._ordered

    def declared(self) -> tuple[FieldSpec, ...]:
        """The specs in the order of declaration."""
        self.ordered()
        return self._specs

    def public(self) -> dict[str, FieldInfo]:
        """The public fields in the order of declaration; always the same objects."""
        if self._infos is None:
            infos = {spec.name: spec.to_info() for spec in self._specs}
            self._seen = [(infos[spec.name], dict(spec.extra)) for spec in self._specs]
            self._infos = infos
        return self._infos

    def model(self, make: Callable[[tuple[FieldSpec, ...]], type[pydantic.BaseModel]]) -> type[pydantic.BaseModel]:
        """What `make` makes of the specs, made on first use and again after an edit."""
        specs = self.declared()
        if self._model is None:
            self._model = make(specs)
        return self._model

    def _read_back(self) -> None:
        pairs = list(zip(self._specs, self._seen, strict=True))
        self._specs = tuple(FieldSpec.from_info(spec.name, info, info.annotation) for spec, (info, _) in pairs)
        self._ordered = _inputs_first(self._specs)
        self._seen = [(info, dict(spec.extra)) for spec, (info, _) in zip(self._specs, self._seen, strict=True)]
        self._model = None


def _inputs_first(specs: tuple[FieldSpec, ...]) -> tuple[FieldSpec, ...]:
    return (*(s for s in specs if s.kind == "input"), *(s for s in specs if s.kind == "output"))
