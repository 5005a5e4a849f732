"""What `check` says: verdicts, uses of dspy with their places, programs, files, and the report over all of them.

The report is data. Its JSON form (`CheckReport.to_json`) is versioned: fields are added within a version, never changed
or removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, final

SCHEMA: Final = "dspex.check"
SCHEMA_VERSION: Final = 1


class Verdict(StrEnum):
    """How a piece of a program fares on the native engine. Ordered by how much stands in the way, see `rank`."""

    NATIVE = "native"
    """Runs on the native engine. Only the import changes, which `convert` does."""
    CHANGES = "native with changes"
    """Runs natively after an edit that the advice names."""
    UNKNOWN = "unknown"
    """Not understood by reading alone. Never a polite word for native: a person has to look."""
    LEGACY = "legacy only"
    """The native engine does not have it: it runs in the pool of workers with the real dspy."""

    @property
    def rank(self) -> int:
        """0 for native, and up."""
        return _RANKS[self]

    @classmethod
    def worst(cls, verdicts: Iterable[Verdict]) -> Verdict:
        """The one that decides for the whole; native for none."""
        return max(verdicts, key=lambda verdict: verdict.rank, default=cls.NATIVE)


_RANKS: Final = {Verdict.NATIVE: 0, Verdict.CHANGES: 1, Verdict.UNKNOWN: 2, Verdict.LEGACY: 3}

Rule = Literal[
    "offered",
    "not-offered",
    "refused",
    "removed",
    "unknown-name",
    "private",
    "dynamic",
    "patched",
    "rebound",
    "star-import",
    "not-read",
    "base-class",
    "keyword",
    "method",
    "model",
    "pickle",
    "sync-on-a-loop",
    "logger",
    "tracing",
    "litellm",
    "own-dspy",
    "needs",
    "syntax",
    "unreadable",
    "too-deep",
    "failed",
    "live",
]

RULES: Final[dict[Rule, str]] = {
    "offered": "A name of dspy's that the native engine has.",
    "not-offered": "A name of dspy's that the native engine does not have.",
    "refused": "A name that the native engine has so that programs load, and refuses to run.",
    "removed": "A name of an earlier dspy that is in neither engine today.",
    "unknown-name": "A name that is known neither as dspy's nor as the engine's.",
    "private": "A part of dspy's own machinery, which has no counterpart that could be relied on.",
    "dynamic": "A name of dspy's that is only known when the program runs.",
    "patched": "dspy itself is changed by the program.",
    "rebound": "A name stands for dspy in one place and for something else in another.",
    "star-import": "Everything is imported from a module that was not read.",
    "not-read": "A module of the project that was not among the files read.",
    "base-class": "A class whose bases are not understood.",
    "keyword": "An argument that the native callable does not take.",
    "method": "A method that the native class does not have.",
    "model": "A language model that the native client does not reach under this name.",
    "pickle": "A pickle is written or read; the native engine does neither.",
    "sync-on-a-loop": "A program is called synchronously on an event loop, which the native engine refuses.",
    "logger": "A logger is asked for by dspy's name.",
    "tracing": "A tool that watches dspy from the inside, and sees nothing of the native engine.",
    "litellm": "litellm is used directly; the native engine does not call it.",
    "own-dspy": "The project has a module called dspy of its own.",
    "needs": "Something of the project that it imports is not native.",
    "syntax": "The file is not Python 3.",
    "unreadable": "The file cannot be read.",
    "too-deep": "The file is nested too deeply to be followed.",
    "failed": "The checker itself failed on this file.",
    "live": "Something that a live program holds.",
}
"""Every rule by its identifier, as in JSON and SARIF."""


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file: lines from 1, columns from 1, in characters. For a notebook, `cell` counts its cells from 1, and
    lines count within the cell."""

    line: int
    column: int
    end_line: int
    end_column: int
    cell: int | None = None

    def __str__(self) -> str:
        return f"cell {self.cell}:{self.line}:{self.column}" if self.cell is not None else f"{self.line}:{self.column}"


@final
@dataclass(frozen=True, slots=True)
class Use:
    """One use of dspy, and what becomes of it."""

    place: Place
    name: str
    """As dspy calls it, with its path: "dspy.teleprompt.COPRO"."""
    verdict: Verdict
    rule: Rule
    reason: str
    advice: str = ""
    """What to do; empty for what is native."""
    program: str = ""
    """The top-level definition it stands in; empty for the file itself."""


@final
@dataclass(frozen=True, slots=True)
class Program:
    """One program: a class derived from `Module`, or a predictor that is made and used without one."""

    name: str
    """Dotted, within its file."""
    kind: Literal["class", "predictor"]
    place: Place
    verdict: Verdict
    """The worst of everything it uses, in this file and in the others that were read."""
    reasons: tuple[str, ...]
    """Why it is not native, each with its place; empty for a native one."""
    modules: tuple[str, ...]
    """dspy's names for what it is made of: "ChainOfThought", "ReAct"."""
    needs: tuple[str, ...]
    """The programs it uses, as "path:name"."""


@final
@dataclass(frozen=True, slots=True)
class FileReport:
    """One file that uses dspy, or that might and could not be read."""

    path: str
    verdict: Verdict
    uses: tuple[Use, ...]
    programs: tuple[Program, ...]

    @property
    def findings(self) -> tuple[Use, ...]:
        """The uses that are not native."""
        return tuple(use for use in self.uses if use.verdict is not Verdict.NATIVE)


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was passed over, and why; it says nothing about dspy."""

    path: str
    reason: str


@final
@dataclass(frozen=True, slots=True)
class CheckReport:
    """All of it."""

    files: tuple[FileReport, ...]
    """The files that use dspy, by path."""
    problems: tuple[Problem, ...]
    """What was passed over."""
    read: int
    """Files read, with and without dspy."""

    @property
    def verdict(self) -> Verdict:
        """The worst of all files."""
        return Verdict.worst(file.verdict for file in self.files)

    @property
    def programs(self) -> tuple[tuple[str, Program], ...]:
        """Every program with the path of its file."""
        return tuple((file.path, program) for file in self.files for program in file.programs)

    def count(self, verdict: Verdict) -> int:
        """Files of this verdict."""
        return sum(file.verdict is verdict for file in self.files)

    def at_or_above(self, verdict: Verdict) -> bool:
        """Whether anything stands in the way at least this much."""
        return any(file.verdict.rank >= verdict.rank for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON, documented in docs/migration.md."""
        return {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            "verdict": self.verdict.value,
            "summary": {
                "files_read": self.read,
                "files_with_dspy": len(self.files),
                "files": {verdict.value: self.count(verdict) for verdict in Verdict},
                "programs": _counted([program.verdict for _, program in self.programs]),
            },
            "files": [_file(file) for file in self.files],
            "problems": [{"path": problem.path, "reason": problem.reason} for problem in self.problems],
        }


def _counted(verdicts: Sequence[Verdict]) -> dict[str, int]:
    return {verdict.value: verdicts.count(verdict) for verdict in Verdict}


def place_json(place: Place) -> dict[str, Any]:
    """A place as JSON."""
    cell = {} if place.cell is None else {"cell": place.cell}
    return {
        "line": place.line,
        "column": place.column,
        "end_line": place.end_line,
        "end_column": place.end_column,
        **cell,
    }


def _file(file: FileReport) -> dict[str, Any]:
    return {
        "path": file.path,
        "verdict": file.verdict.value,
        "programs": [
            {
                "name": program.name,
                "kind": program.kind,
                **place_json(program.place),
                "verdict": program.verdict.value,
                "reasons": list(program.reasons),
                "modules": list(program.modules),
                "needs": list(program.needs),
            }
            for program in file.programs
        ],
        "uses": [
            {
                **place_json(use.place),
                "name": use.name,
                "verdict": use.verdict.value,
                "rule": use.rule,
                "reason": use.reason,
                "advice": use.advice,
                "program": use.program,
            }
            for use in file.uses
        ],
    }
