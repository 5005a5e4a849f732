"""The state of one signature class: its specs, and its public fields once someone has asked for them.

Specs are what the engine works with; the `FieldInfo`s are what programs read and, since dspy lets them, edit in place.
An edit is told (`public.py`), and when the specs are next asked for they are made anew from the fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pydantic
from pydantic.fields import FieldInfo

from .fields import FieldSpec
from .public import PublicField


class Record:
    """Belongs to one signature class."""

    __slots__ = ("_edited", "_infos", "_model", "_ordered", "_specs", "instructions", "version")

    def __init__(self, specs: tuple[FieldSpec, ...]) -> None:
        self._specs = specs
        self._ordered = _inputs_first(specs)
        self._infos: dict[str, FieldInfo] | None = None
        self._edited = False
        self.version: object = specs
        """Replaced at every edit."""
        self._model: type[pydantic.BaseModel] | None = None
        self.instructions: tuple[str, str] = ("", "")
        """The docstring of the class, and the same without its indentation."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Record, (self.declared(),)

    def ordered(self) -> tuple[FieldSpec, ...]:
        """The specs, inputs first. The same tuple object for as long as nothing was edited."""
        if self._edited:
            self._read_back()
        return self._ordered

    def current(self) -> object:
        """The version that fits what the program has made of the fields."""
        if self._edited:
            self._read_back()
        return self.version

    def declared(self) -> tuple[FieldSpec, ...]:
        """The specs in the order of declaration."""
        if self._edited:
            self._read_back()
        return self._specs

    def public(self) -> dict[str, FieldInfo]:
        """The public fields in the order of declaration; always the same objects."""
        if self._infos is None:
            self._infos = {spec.name: PublicField(spec.to_info(), self._note_edit) for spec in self._specs}
        return self._infos

    def _note_edit(self) -> None:
        self._edited = True

    def model(self, make: Callable[[tuple[FieldSpec, ...]], type[pydantic.BaseModel]]) -> type[pydantic.BaseModel]:
        """What `make` makes of the specs, made on first use and again after an edit."""
        specs = self.declared()
        if self._model is None:
            self._model = make(specs)
        return self._model

    def _read_back(self) -> None:
        infos = self._infos or {}
        self._specs = tuple(FieldSpec.from_info(name, info, info.annotation) for name, info in infos.items())
        self._ordered = _inputs_first(self._specs)
        self._model = None
        self.version = object()
        # An edit that left a field without a prefix or a description has been given them: the program sees it.
        for spec in self._specs:
            if infos[spec.name].json_schema_extra != dict(spec.extra):
                infos[spec.name].json_schema_extra = dict(spec.extra)
        self._edited = False


def _inputs_first(specs: tuple[FieldSpec, ...]) -> tuple[FieldSpec, ...]:
    return (*(s for s in specs if s.kind == "input"), *(s for s in specs if s.kind == "output"))
