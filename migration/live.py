"""`validate_compatibility`: what `check` says, for a program that is there, or for an import path to one.

    found = validate_compatibility(program)                # an object, a class, a factory
    found = validate_compatibility("shop.programs:RAG")    # imported here, so its module runs
    found.verdict, found.reasons

What the object holds is looked at (predictors, models, adapters, callbacks), and the source of the classes that are the
project's own is read as `check` reads it. dspy is not imported for it: who has a dspy program has dspy.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast, final

from . import offers
from .check import examine
from .errors import MigrationError, ProgramNotFound
from .findings import shown_name
from .verdicts import Place, Program, Use, Verdict

__all__ = ["Compatibility", "validate_compatibility"]

_HERE: Final = Place(1, 1, 1, 1)
_MOST: Final = 10_000


@final
@dataclass(frozen=True, slots=True)
class Compatibility:
    """What becomes of one program."""

    name: str
    verdict: Verdict
    reasons: tuple[str, ...]
    """Why it is not native; empty for a native one."""
    uses: tuple[Use, ...]
    """What it uses; places are those of the source, or 1:1 for what the object holds."""
    error: str = ""
    """Why it could not be imported; then the verdict is unknown."""

    @property
    def native(self) -> bool:
        """Whether it runs on the native engine as it is."""
        return self.verdict is Verdict.NATIVE

    def to_json(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "reasons": list(self.reasons),
            "uses": [
                {
                    "name": use.name,
                    "verdict": use.verdict.value,
                    "rule": use.rule,
                    "reason": use.reason,
                    "advice": use.advice,
                }
                for use in self.uses
            ],
            "error": self.error,
        }


def validate_compatibility(program: object) -> Compatibility:
    """What becomes of a program on the native engine.

    Args:
        program: an object of dspy's or of the engine's, a class, a factory that takes the `dspy` namespace, or the import
            path "package.module:attribute" of one of these.

    A module that cannot be imported is no exception: the verdict is unknown, and `error` says what its import raised.

    Raises:
        ProgramNotFound: the text is no such path, or the module has no such attribute, or it is no program at all.
    """
    if isinstance(program, str):
        return _by_path(program)
    return _Look(program, _name_of(program)).result()


def _by_path(path: str) -> Compatibility:
    module_name, colon, attribute = path.partition(":")
    if not colon or not module_name or not attribute:
        raise ProgramNotFound(path, "it is no import path")
    try:
        found: object = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may raise anything, SystemExit included: that is the answer
        return _not_imported(path, error)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise ProgramNotFound(path, f"there is no `{part}` in it") from error
    return _Look(found, path).result()


def _not_imported(path: str, error: BaseException) -> Compatibility:
    said = f"{type(error).__name__}: {error}"
    reason = f"its module cannot be imported here ({said})"
    use = Use(
        _HERE, path, Verdict.UNKNOWN, "unreadable", reason, "make it importable, or read its files with `dspex check`"
    )
    return Compatibility(path, Verdict.UNKNOWN, (reason,), (use,), said)


def _name_of(program: object) -> str:
    named = program if inspect.isclass(program) or inspect.isroutine(program) else type(program)
    return f"{named.__module__}:{named.__qualname__}"


class _Look:
    """Looks at one object and all that it holds."""

    def __init__(self, program: object, name: str) -> None:
        self._program = program
        self._name = name
        self._uses: dict[Use, None] = {}
        self._reasons: dict[str, None] = {}
        self._verdicts: list[Verdict] = []
        self._read: set[str] = set()

    def result(self) -> Compatibility:
        program = self._program
        if inspect.isclass(program):
            self._class(program)
        elif inspect.isfunction(program):
            self._source(program, program.__qualname__)
        elif _is_of_dspy(type(program)):
            for each in _held(program):
                self._class(type(each))
                self._object(each)
        else:
            raise ProgramNotFound(self._name, f"a {type(program).__name__} is no program of dspy's or the engine's")
        if not self._verdicts:
            raise ProgramNotFound(self._name, "it has nothing to do with dspy")
        return Compatibility(self._name, Verdict.worst(self._verdicts), tuple(self._reasons), tuple(self._uses))

    def _add(self, use: Use) -> None:
        self._verdicts.append(use.verdict)
        self._uses[use] = None
        if use.verdict is not Verdict.NATIVE:
            self._reasons[f"{use.name}: {use.reason}"] = None

    def _class(self, cls: type) -> None:
        key = f"{cls.__module__}:{cls.__qualname__}"
        if key in self._read:
            return
        self._read.add(key)
        if _home(cls) == "dspy":
            self._dspy_class(cls)
        elif _home(cls) == "dspex":
            self._add(Use(_HERE, shown_name((cls.__name__,)), Verdict.NATIVE, "offered", "it is the engine's"))
        elif _is_of_dspy(cls):
            self._source(cls, cls.__qualname__)

    def _dspy_class(self, cls: type) -> None:
        """By its public name, or else by where it is kept."""
        path = tuple(cls.__module__.split(".")[1:])
        offer = offers.judge((cls.__name__,))
        shown = (cls.__name__,)
        if offer.rule == "unknown-name":
            shown = (*path, cls.__name__)
            offer = offers.judge(shown)
        self._add(Use(_HERE, shown_name(shown), offer.verdict, offer.rule, offer.reason, offer.advice))

    def _source(self, defined: Any, name: str) -> None:
        """What the file of a definition says of it."""
        try:
            path = inspect.getsourcefile(defined)
            found = examine([path]) if path is not None and os.path.exists(path) else None
        except (TypeError, OSError, MigrationError):
            path = found = None
        file = found.report.files[0] if found is not None and found.report.files else None
        if file is None or found is None:
            reason = "its source cannot be read"
            self._add(Use(_HERE, name, Verdict.UNKNOWN, "unreadable", reason, "define it in a file"))
            return
        program = next((each for each in file.programs if each.name == name), None)
        if program is None:
            program = found.programs.definition(file.path, name.partition(".")[0])
        if program is not None:
            self._of_program(program)
        used = [use for use in file.uses if use.program == name.partition(".")[0]]
        for use in used:
            self._add(use)
        if program is None and not used:
            reason = "nothing of dspy's is seen in its source"
            self._add(Use(_HERE, name, Verdict.UNKNOWN, "dynamic", reason, "look at how it is made"))

    def _of_program(self, program: Program) -> None:
        self._verdicts.append(program.verdict)
        self._reasons.update(dict.fromkeys(program.reasons))

    def _object(self, each: object) -> None:
        """What of an object is not seen in its class."""
        try:
            model = getattr(each, "model", None)
            engine = getattr(each, "engine", None)
        except Exception as error:  # a property or __getattr__ of the program's own may raise anything
            name = type(each).__qualname__
            reason = f"its attributes cannot be looked at ({type(error).__name__}: {error})"
            self._add(Use(_HERE, name, Verdict.UNKNOWN, "live", reason, "check its files with `dspex check`"))
            return
        if type(each).__name__ == "LM" and isinstance(model, str) and (engine is None or isinstance(engine, str)):
            offer = offers.model_offer(model)
            if offer is not None:
                self._add(Use(_HERE, f"dspy.LM({model!r})", offer.verdict, offer.rule, offer.reason, offer.advice))


def _home(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _is_of_dspy(cls: type) -> bool:
    return any(_home(base) == "dspy" or base.__module__.startswith("dspex.engine") for base in cls.__mro__)


def _held(program: object) -> Iterator[object]:
    """The program and everything of dspy's in its attributes, lists and dicts, each once."""
    waiting: list[object] = [program]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        kind = type(each)  # not isinstance: an object may raise when it is asked for its class
        if issubclass(kind, list | tuple | set):
            waiting += cast("list[object]", list(cast("Any", each)))  # pyright: ignore[reportUnknownArgumentType]
        elif issubclass(kind, dict):
            waiting += list(cast("dict[object, object]", each).values())
        elif issubclass(kind, type):
            continue
        elif _is_of_dspy(kind):
            yield each
            try:
                attributes = dict(getattr(each, "__dict__", {}))
            except Exception:  # as above; `_object` says so, or the class's source does
                continue
            for left_out in ("history", "demos", "traces", "train"):
                attributes.pop(left_out, None)
            waiting += list(attributes.values())
