"""The programs of a project, each with the worst of all that it reaches: through names, functions, base classes, and the
files that must be imported for it.
"""

from __future__ import annotations

import ast
from typing import Final

from .findings import FileUses, Unit, place_of
from .verdicts import Program, Use, Verdict

__all__ = ["Programs"]

_SHOWN: Final = 20


class Programs:
    """Asks for programs once every file has been judged."""

    def __init__(self, files: dict[str, FileUses], broken: dict[str, Use]) -> None:
        self._files = files
        self._broken = broken
        self._by_unit: dict[Unit, list[Use]] = {}
        self._closures: dict[Unit, frozenset[Unit]] = {}
        self._burdens: dict[str, list[tuple[str, Use]]] = {}
        self._classes = {(path, name) for path, found in files.items() for name in found.classes}
        for path, found in files.items():
            for use in found.uses:
                if use.verdict is not Verdict.NATIVE and use.program:
                    self._by_unit.setdefault((path, use.program), []).append(use)

    def of_file(self, found: FileUses) -> list[Program]:
        """The programs of a file, in its order."""
        path = found.module.path
        made: list[Program] = []
        inside: set[str] = set()
        for name, info in found.classes.items():
            inside.add(info.unit)
            made.append(self._program(found, name, "class", info.node, (path, info.unit)))
        names: dict[str, int] = {}
        for name, record, _ in found.predictors:
            if record.unit in inside:
                continue
            shown = name if not record.unit or record.unit == name else f"{record.unit}.{name}"
            names[shown] = names.get(shown, 0) + 1
            if names[shown] > 1:
                shown = f"{shown}#{names[shown]}"
            made.append(self._program(found, shown, "predictor", record.node, (path, record.unit)))
        return sorted(made, key=lambda program: (program.place.line, program.place.column))

    def definition(self, path: str, name: str) -> Program | None:
        """A top-level definition as if it were a program; None if it reaches nothing of dspy's."""
        found = self._files.get(path)
        if found is None or name not in {*found.edges, *(use.program for use in found.uses)}:
            return None
        reached = self._closure((path, name))
        if not any(use.program == inner for where, inner in reached for use in self._files[where].uses):
            return None
        return self._program(found, name, "predictor", ast.Pass(), (path, name))

    def _program(self, found: FileUses, name: str, kind: str, node: ast.AST, unit: Unit) -> Program:
        path = found.module.path
        reached = self._closure(unit)
        own = [(where, use) for where, inner in sorted(reached) for use in self._by_unit.get((where, inner), ())]
        burden = [each for where in sorted({where for where, _ in reached}) for each in self._burden(where)]
        against = list(dict.fromkeys([*own, *burden]))
        reasons = tuple(dict.fromkeys(f"{where}:{use.place}: {use.name}: {use.reason}" for where, use in against))
        modules = {each for where, inner in reached for each in self._files[where].modules.get(inner, ())}
        needs = sorted(
            f"{where}:{inner}" for where, inner in reached if (where, inner) in self._classes and (where, inner) != unit
        )
        return Program(
            name=name,
            kind="class" if kind == "class" else "predictor",
            place=place_of(node),
            verdict=Verdict.worst([*(use.verdict for _, use in own), *(_beside(use.verdict) for _, use in burden)]),
            reasons=reasons[:_SHOWN],
            modules=tuple(sorted(modules if unit[1] else found.modules.get("", set()) | modules)),
            needs=tuple(need for need in needs if need != f"{path}:{name}"),
        )

    def _closure(self, unit: Unit) -> frozenset[Unit]:
        """Every definition that one reaches, itself included."""
        known = self._closures.get(unit)
        if known is not None:
            return known
        seen: set[Unit] = set()
        waiting = [unit]
        while waiting:
            at = waiting.pop()
            if at in seen or at[0] not in self._files:
                continue
            seen.add(at)
            waiting += self._files[at[0]].edges.get(at[1], ()) if at[1] or at == unit else ()
        self._closures[unit] = frozenset(seen)
        return self._closures[unit]

    def _burden(self, path: str) -> list[tuple[str, Use]]:
        """What keeps a file from being imported natively, in it or in the files that it imports."""
        known = self._burdens.get(path)
        if known is not None:
            return known
        seen: set[str] = set()
        waiting = [path]
        made: list[tuple[str, Use]] = []
        while waiting:
            at = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            if at in self._files:
                made += [(at, use) for use in self._files[at].breaking]
                waiting += [target for record, target, _ in self._files[at].imported if record.eager]
            elif at in self._broken:
                made.append((at, self._broken[at]))
        self._burdens[path] = made
        return made

    def concerns(self, found: FileUses) -> bool:
        """Whether a file that does not name dspy has to do with it: it holds a program, or needs what is not native."""
        return bool(found.classes) or bool(self.needed(found))

    def needed(self, found: FileUses) -> list[Use]:
        """A use for each import from the project of something that is not native."""
        made: list[Use] = []
        for record, path, name in found.imported:
            against = list(self._burden(path))
            if name:
                against += [
                    (where, use)
                    for where, inner in self._closure((path, name))
                    for use in self._by_unit.get((where, inner), ())
                ]
            if against:
                where, use = max(against, key=lambda each: each[1].verdict.rank)
                shown = f"{path}:{name}" if name else path
                reason = f"it needs {use.name} ({where}:{use.place}): {use.reason}"
                made.append(
                    Use(
                        place_of(record.node),
                        shown,
                        use.verdict,
                        "needs",
                        reason,
                        use.advice or "see there",
                        record.unit,
                    )
                )
        return made


def _beside(verdict: Verdict) -> Verdict:
    """What a neighbour does to a program: one that is legacy only keeps the file from being imported, and can be moved out."""
    return Verdict.CHANGES if verdict is Verdict.LEGACY else verdict
