"""`explain`: what of a program runs where, and why, feature by feature.

print(explain("react"))                       # a feature
print(explain(program))                       # a live program, ours or the real dspy's
print(explain("shop.programs:qa"))            # an import path: read, neither imported nor run
print(explain(ProgramSpec.of_signature("qa", "question -> answer")))
print(app.explain("qa"))                      # and what the flags would do with its next request
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast, final

from ..legacy import ImportedProgram, SignatureProgram
from .decision import decide
from .errors import EngineMissing, RouterError, UnknownFeature, UnreadableProgram
from .explanation import Explanation, FeatureUse, Subject
from .feature import Feature
from .features import FEATURES, find_feature, near
from .flags import Flags
from .live_features import class_feature, home_of, is_module, signature_features, used_by
from .open_feature import Chooser, choice
from .programs import ProgramSpec
from .request import Engine, RoutedProgram
from .requirement import MeasuredBy, Requirement
from .source_features import SourceUses, imported, source_of, used_in


def explain(program: object) -> Explanation:
    """What of it runs where, and why.

    ``program``: a live program of the engine or of the real dspy (or an optimizer, model or adapter), a class of either, a
    ``ProgramSpec``, a function that makes a program (with the namespace as its only argument or without), an import path,
    or the name of a feature.

    Nothing of the program is run, and dspy is not imported. A ``ProgramSpec``'s native side is made once, to be looked at.
    The source of the program's own classes is read, where there is one, for what only their methods use.

    Raises UnknownFeature for a text that is neither a feature nor an import path, UnreadableProgram for a path or a
    function whose source is not to be found, TypeError for anything else that is no program.
    """
    if isinstance(program, str):
        return _of_text(program)
    if isinstance(program, ProgramSpec):
        return _of_spec(program)
    if isinstance(program, type):
        return _of_class(program)
    if is_module(program):
        return _of_live(program)
    if callable(program) and hasattr(program, "__code__"):
        return _of_function(program)
    record = class_feature(type(program))
    if record is not None:  # an optimizer, a model, an adapter
        kind: Subject = "dspy program" if home_of(type(program)) == "dspy" else "native program"
        return _summed(type(program).__name__, kind, [(record, "self")])
    raise TypeError(
        "explain takes a program, a class, a function that makes one, a ProgramSpec, an import path such as "
        f'"shop.programs:qa", or the name of a feature, not {type(program).__name__}'
    )


# --- by what it is ----------------------------------------------------------------------------------------------------


def _of_text(text: str) -> Explanation:
    record = find_feature(text)
    if record is not None and ":" not in text:
        use = _use(record, ())
        reason = use.reason if use.engine == "native" else f"{use.status}: {use.reason}"
        return Explanation(record.id, "feature", use.engine, reason, (use,))
    module, colon, name = text.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or (colon and not name.isidentifier()):
        raise UnknownFeature(text, near(text, FEATURES))
    file = source_of(module)
    if file is None:
        raise UnknownFeature(text, near(text, FEATURES))
    try:
        return _of_source(text, used_in(file.read_text(encoding="utf-8"), name or None))
    except (LookupError, SyntaxError, UnicodeDecodeError) as error:
        raise UnreadableProgram(text, f"{file}: {error}") from error


def _of_source(subject: str, used: SourceUses) -> Explanation:
    explained = _summed(subject, "source", used.features, ["read from its source, without running it"])
    return _lacking(explained, [f"line {line}: dspy 3.4 has no dspy.{unknown}" for unknown, line in used.unknown])


def _lacking(explained: Explanation, unknown: list[str]) -> Explanation:
    """The same for a program that uses what no dspy 3.4 has: it runs nowhere."""
    if not unknown:
        return explained
    return replace(explained, engine=None, reason=unknown[0], notes=(*explained.notes, *unknown))


def _of_spec(spec: ProgramSpec) -> Explanation:
    found: list[tuple[Feature, str]] = []
    notes: list[str] = []
    if spec.native is not None:
        try:
            made = spec.native()
        except Exception as error:  # the user's function: that it fails is what they want to know
            notes.append(f"the native side could not be made: {type(error).__name__}: {error}")
        else:
            live = _of_live(made)
            notes += live.notes
            found += [(FEATURES[use.feature], where) for use in live.uses for where in use.where]
    if not found and spec.legacy is not None:
        found += _of_legacy_side(spec.legacy, notes)
    both: tuple[Engine, ...] = ("native", "legacy")
    sides = tuple(side for side in both if getattr(spec, side) is not None)
    summed = _summed(spec.name, "program", found, notes)
    if sides == ("native",) and summed.engine != "native":
        return replace(summed, sides=sides, engine=None, reason=f"{summed.reason}, and it has no legacy side")
    if sides == ("legacy",):
        reason = "it has no native side" + (", though all of it is native" if summed.native else f"; {summed.reason}")
        return replace(summed, sides=sides, engine="legacy", reason=reason)
    return replace(summed, sides=sides)


def _of_legacy_side(side: SignatureProgram | ImportedProgram, notes: list[str]) -> list[tuple[Feature, str]]:
    if isinstance(side, SignatureProgram):
        record = find_feature(side.module)
        found = [(FEATURES["signatures"], "self")]
        return [*found, (record, "self")] if record is not None else found
    try:
        read = _of_text(side.path)
    except RouterError as error:
        notes.append(f"its legacy side could not be read here: {error}")
        return []
    notes += read.notes
    return [(FEATURES[use.feature], where) for use in read.uses for where in use.where]


def _of_live(program: object) -> Explanation:
    kind: Subject = "dspy program" if home_of(type(program)) == "dspy" else "native program"
    notes: list[str] = []
    unknown: list[str] = []
    found = list(used_by(program))
    named = cast("Callable[[], Iterable[tuple[str, object]]] | None", getattr(program, "named_sub_modules", None))
    parts = [part for _, part in named()] if named is not None else [program]
    for own in dict.fromkeys(type(part) for part in parts if not _is_of_the_house(type(part))):
        found += _read(own, notes, unknown)
    if kind == "dspy program":
        notes.append("an object of the real dspy: to run it natively, give its import path (ProgramSpec.of_factory)")
    return _lacking(_summed(type(program).__name__, kind, found, notes), unknown)


def _of_class(kind: type) -> Explanation:
    record = class_feature(kind)
    if record is None and not hasattr(kind, "input_fields"):
        raise TypeError(f"explain: {kind.__name__} is no class of dspy's or the engine's, nor derived from one")
    notes: list[str] = []
    unknown: list[str] = []
    found: list[tuple[Feature, str]] = [(record, kind.__name__)] if record is not None else []
    if hasattr(kind, "input_fields"):
        found += signature_features(kind, kind.__name__)
    elif not _is_of_the_house(kind):
        found += _read(kind, notes, unknown)
    subject: Subject = "dspy program" if home_of(kind) == "dspy" else "native program"
    return _lacking(_summed(kind.__name__, subject, found, notes), unknown)


def _of_function(function: Callable[..., object]) -> Explanation:
    name = getattr(function, "__name__", "function")
    if name == "<lambda>":
        raise TypeError("explain: a lambda cannot be read by its name; give what it makes, or an import path")
    try:
        used = _source_uses(function, name, [function])
    except (OSError, LookupError, SyntaxError) as error:
        raise UnreadableProgram(name, f"its source was not found ({error}); give what it makes") from error
    return _of_source(name, used)


def _read(kind: type, notes: list[str], unknown: list[str]) -> list[tuple[Feature, str]]:
    """What the methods of a class of the user's own use."""
    try:
        used = _source_uses(kind, kind.__name__, list(vars(kind).values()))
    except (OSError, TypeError, LookupError, SyntaxError):  # typed into a console: nothing to read
        notes.append(f"the source of {kind.__name__} was not found: what only its methods use is not listed")
        return []
    unknown += [f"{kind.__name__}, line {line}: dspy 3.4 has no dspy.{name}" for name, line in used.unknown]
    return [(record, f"{kind.__name__}, {line}") for record, line in used.features]


def _source_uses(thing: type | Callable[..., object], name: str, functions: list[object]) -> SourceUses:
    file = inspect.getsourcefile(thing)
    if file is None:
        raise OSError("no file")
    source = Path(file).read_text(encoding="utf-8")
    if "<locals>" not in thing.__qualname__:
        return used_in(source, name)
    # Of a factory: what the names in it mean is what its functions remember of the factory's.
    lines, first = inspect.getsourcelines(thing)
    known = {**imported(ast.parse(source)), **dict.fromkeys(_namespaces(functions), "")}
    return used_in("\n" * (first - 1) + textwrap.dedent("".join(lines)), name, known=known)


def _namespaces(functions: list[object]) -> list[str]:
    """The free variables of functions that hold dspy, or what stands for it."""
    found: list[str] = []
    for function in functions:
        code = getattr(function, "__code__", None)
        cells = getattr(function, "__closure__", None) or ()
        for name, cell in zip(code.co_freevars if code else (), cells, strict=True):
            with suppress(ValueError):  # not set yet
                if getattr(cell.cell_contents, "__name__", "") in ("dspy", "dspex.engine"):
                    found.append(name)
    return found


def _is_of_the_house(kind: type) -> bool:
    return f"{kind.__module__}.".startswith(("dspy.", "dspex.engine."))


# --- the sum ----------------------------------------------------------------------------------------------------------


def _use(record: Feature, where: tuple[str, ...]) -> FeatureUse:
    status = record.status
    engine: Engine | None = "native" if record.native else "legacy" if status == "legacy only" else None
    return FeatureUse(record.id, f"dspy.{record.names[0]}", where, status, engine, record.reason, record.todo)


def _summed(
    subject: str, kind: Subject, found: Iterable[tuple[Feature, str]], notes: Iterable[str] = ()
) -> Explanation:
    places: dict[str, list[str]] = {}
    for record, where in found:
        at = places.setdefault(record.id, [])
        if where not in at:
            at.append(where)
    uses = tuple(_use(record, tuple(places[id])) for id, record in FEATURES.items() if id in places)
    engine, reason = _whole(uses)
    return Explanation(subject, kind, engine, reason, uses, notes=tuple(notes))


def _whole(uses: tuple[FeatureUse, ...]) -> tuple[Engine | None, str]:
    if not uses:
        return "native", "it uses nothing of dspy's that was found"
    for engine in (None, "legacy"):
        kept = [use.feature for use in uses if use.engine == engine]
        if kept:
            return engine, f"{', '.join(kept)} {'is' if len(kept) == 1 else 'are'} " + (
                "not offered" if engine is None else "legacy only"
            )
    return "native", "all of it is native"


@final
class FeaturesOf:
    """The features of a spec's program, looked up when they are first asked for: a program is made for it, and its source
    read. None: nothing was found, and every program has something."""

    def __init__(self, spec: ProgramSpec) -> None:
        self._spec = spec
        self._found: frozenset[str] | None = None
        self._looked = False

    def __call__(self) -> frozenset[str] | None:
        """Their ids. Raises nothing: a program that cannot be explained is one of which nothing is known."""
        if not self._looked:
            self._looked = True
            with suppress(Exception):  # the user's code is run for it, inside the router
                self._found = explain(self._spec).features or None
        return self._found


def explain_next(
    spec: ProgramSpec,
    program: RoutedProgram,
    flags: Flags,
    *,
    key: str | None = None,
    chooser: Chooser | None = None,
    require: Requirement | None = None,
    measured: MeasuredBy | None = None,
) -> Explanation:
    """``explain(spec)``, with what would be done with its next request. ``program``: the same as the router knows it."""
    explained = explain(spec)
    said = [
        f"features[{feature!r}]={value!r}"
        for feature, value in flags.features.items()
        if feature.rpartition("/")[2] in explained.features and feature.rpartition("/")[0] in ("", program.name)
    ]
    notes = [*explained.notes, *(f"a flag speaks of it: {each}" for each in said)]
    chosen: tuple[Engine, str] | None = None
    if chooser is not None:
        try:
            chosen = choice(chooser, program.name, key)
        except Exception as error:  # as in the router: it is then left to the flags
            notes.append(f"the chooser fails, and the flags decide: {type(error).__name__}: {error}")
    explained = replace(explained, notes=tuple(notes))
    asked = None if chosen is None else chosen[0]
    try:
        decision = decide(flags, program, key, asked=asked, require=require, measured=measured)
    except EngineMissing as error:
        if chosen is not None:
            missing = EngineMissing(program.name, chosen[0], f"the chooser ({chosen[1]})")
            return replace(explained, refused=str(missing))
        return replace(explained, refused=str(error))
    if chosen is not None:
        decision = replace(decision, reason=chosen[1], flag="chooser")
    return replace(explained, next=decision)
