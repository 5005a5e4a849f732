"""`check`: what of a code base runs natively, found by reading it; nothing of it is executed or imported.

    report = check(["src"])
    for path, program in report.programs:
        print(path, program.name, program.verdict)

Read are the files that mention dspy, and the files of the project that import from those; 10,000 other files cost their
reading and a search. Each verdict has its reason and what to do. What is not understood is unknown, never native.
"""

from __future__ import annotations

import ast
import gc
import os
import re
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from .errors import NothingToRead
from .findings import FileUses, place_of
from .loops import LoopCalls
from .meanings import Made, Object, Value
from .notebooks import cells_of, parse_cells
from .programs import Programs
from .project import Project
from .reading import read_module
from .scopes import ModuleInfo
from .sources import Source, SourceError, decode, find_sources, read_source
from .uses import judged_uses
from .values import Values
from .verdicts import CheckReport, FileReport, Place, Problem, Rule, Use, Verdict

__all__ = ["Progress", "check", "check_text"]

Progress = Callable[[int, int], None]
"""Told of (steps done, steps in all) now and then. A file is one step to look at, and two more if it uses dspy."""

_MENTIONS: Final = re.compile(rb"dspy|dspex\.engine|^[ \t]*(?:import|from)[ \t]+dsp\b", re.MULTILINE)
_IMPORTS: Final = re.compile(rb"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+|import[ \t]+)(\(?[^\n]*)", re.MULTILINE)
_WORD: Final = re.compile(rb"[\w.]+")
_BLOCKS: Final = "the call would block the event loop it runs on, which the native engine refuses"
_AWAIT: Final = "await {what}.acall(...), or leave it to a thread: await anyio.to_thread.run_sync(...)"
_MAKE_ASYNC: Final = (
    "make {what} async and await the programs in it, or leave it to a thread: await anyio.to_thread.run_sync(...)"
)
_EVERY: Final = 50


def check(
    paths: Sequence[str | os.PathLike[str]], *, exclude: Iterable[str] = (), progress: Progress | None = None
) -> CheckReport:
    """Read every Python file and notebook below the paths, and say what becomes of each use of dspy.

    Args:
        paths: files and folders. Files are read whatever they are called.
        exclude: patterns (as of fnmatch) for names or paths below the given folder that are left out, beside hidden
            ones, virtual environments, caches and build output.
        progress: told of (steps done, steps in all), which grow while files that use dspy are found.

    Raises:
        NothingToRead: a path does not exist, or there is no Python file.
    """
    return examine(paths, exclude=exclude, progress=progress).report


class Examination:
    """A report with what it was made from, for those who go on from there."""

    def __init__(
        self,
        report: CheckReport,
        project: Project,
        values: Values,
        texts: dict[str, list[str]],
        links: set[tuple[str, str]],
        programs: Programs,
    ) -> None:
        self.report: Final = report
        self.programs: Final = programs
        self.project: Final = project
        self.values: Final = values
        self.texts: Final = texts
        """The lines of each file that was parsed."""
        self.links: Final = links
        """(file, file that it imports), of those that were parsed."""


def examine(
    paths: Sequence[str | os.PathLike[str]], *, exclude: Iterable[str] = (), progress: Progress | None = None
) -> Examination:
    """`check`, with what it knows of the project. Arguments and errors are the same."""
    given = [os.fspath(path) for path in paths]
    missing = tuple(path for path in given if not os.path.exists(path))
    if missing or not given:
        raise NothingToRead(
            missing or tuple(given), "there is no such file or folder" if missing else "no path was given"
        )
    sources, problems = find_sources(given, exclude)
    if not sources:
        raise NothingToRead(tuple(given), "there is no Python file or notebook in it")
    with _no_collection():
        return _Check(sources, problems, progress).examination()


@contextmanager
def _no_collection() -> Generator[None]:
    """Syntax trees are many objects and none is garbage before the end: looking for it takes a fifth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def check_text(text: str, path: str = "<text>") -> CheckReport:
    """The same for one piece of source, which imports nothing but dspy and other packages."""
    run = _Check([Source(path, ".")], [], None)
    run.contents[path] = text.encode("utf-8", "surrogatepass")
    return run.examination().report


class _Check:
    """One run."""

    def __init__(self, sources: list[Source], problems: list[Problem], progress: Progress | None) -> None:
        self._sources = {source.path: source for source in sources}
        self._problems = problems
        self._progress = progress
        self._done = 0
        self._steps = len(sources)
        self.contents: dict[str, bytes] = {}
        self._project = Project({source.path: source.root for source in sources})
        self._values = Values(self._project)
        self._broken: dict[str, Use] = {}
        self._cells: dict[str, list[tuple[int, int]]] = {}
        self._texts: dict[str, list[str]] = {}
        self._extra: dict[str, list[Use]] = {}

    def examination(self) -> Examination:
        """Read, judge, and put together."""
        read = len(self._sources)
        concerned = self._concerned()
        self._steps = len(self._sources) + 2 * len(concerned)
        for path in concerned:
            self._parse(self._sources[path])
            self._step()
        judged, programs = self._judge()
        files = [self._file(found, programs) for found in judged]
        files += [
            FileReport(path, use.verdict, (use,), ())
            for path, use in self._broken.items()
            if path not in self._project.modules
        ]
        shown = sorted((file for file in files if file.uses), key=lambda file: file.path)
        links = {(found.module.path, target) for found in judged for _, target, _ in found.imported}
        report = CheckReport(tuple(shown), tuple(self._problems), read)
        return Examination(report, self._project, self._values, self._texts, links, programs)

    # -- reading -----------------------------------------------------------------------------------------------------

    def _concerned(self) -> list[str]:
        """The files that mention dspy, and those that import from them, and so on."""
        concerned: list[str] = []
        importers: dict[str, list[str]] = {}
        for path, source in self._sources.items():
            self._step()
            try:
                content = self.contents[path] if path in self.contents else read_source(path)
            except SourceError as error:
                self._break(path, "unreadable", f"{error}", "make it readable, or leave it out with --exclude")
                continue
            wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
            if _MENTIONS.search(content) or (wide and b"dspy" in content.replace(b"\0", b"")):
                self.contents[path] = content
                concerned.append(path)
            elif not source.is_notebook:
                for target in self._imports(path, content):
                    importers.setdefault(target, []).append(path)
        waiting = list(concerned)
        known = set(concerned)
        while waiting:
            for path in importers.get(waiting.pop(), ()):
                if path not in known:
                    known.add(path)
                    concerned.append(path)
                    waiting.append(path)
        return sorted(concerned)

    def _step(self) -> None:
        self._done += 1
        if self._progress is not None and (self._done % _EVERY == 0 or self._done == self._steps):
            self._progress(self._done, self._steps)

    def _imports(self, path: str, content: bytes) -> set[str]:
        """The files of the project that a file may import from, by a look at its lines."""
        found: set[str] = set()
        for match in _IMPORTS.finditer(content):
            base = (match.group(1) or b"").decode("ascii", "ignore")
            level = len(base) - len(base.lstrip("."))
            names = [word.decode("ascii", "ignore") for word in _WORD.findall(match.group(2))]
            asked = [base.lstrip("."), *(f"{base.lstrip('.')}.{name}".strip(".") for name in names)] if base else names
            for name in asked:
                target = self._project.file_of(path, name, level) if name or level else None
                if target is not None and target != path:
                    found.add(target)
        return found

    def _parse(self, source: Source) -> None:
        path = source.path
        content = self.contents.pop(path, None)
        try:
            if content is None:
                content = read_source(path)
            if source.is_notebook:
                self._parse_notebook(path, content.decode("utf-8", "replace"))
                return
            text = decode(content)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes are its author's affair
                tree = ast.parse(text)
            self._texts[path] = text.split("\n")
            self._project.modules[path] = read_module(tree, path)
        except SourceError as error:
            self._break(path, "unreadable", str(error), "save it as UTF-8, or leave it out with --exclude")
        except SyntaxError as error:
            self._break(path, "syntax", *_syntax(error), line=error.lineno or 1, column=error.offset or 1)
        except (RecursionError, MemoryError):
            self._break(path, "too-deep", "its expressions are nested too deeply to be followed", "check it by hand")
        except ValueError as error:
            self._break(path, "unreadable", f"it is no Python source ({error})", "leave it out with --exclude")

    def _parse_notebook(self, path: str, text: str) -> None:
        cells = cells_of(text)
        tree, starts, broken = parse_cells(cells)
        self._cells[path] = starts
        self._texts[path] = "\n".join(cell.text for cell in cells).split("\n")
        self._project.modules[path] = read_module(tree, path, notebook=True)
        for number, error in broken:
            reason, advice = _syntax(error)
            place = Place(error.lineno or 1, error.offset or 1, error.lineno or 1, (error.offset or 1) + 1, number)
            self._extra.setdefault(path, []).append(Use(place, "a cell", Verdict.UNKNOWN, "syntax", reason, advice))

    def _break(self, path: str, rule: Rule, reason: str, advice: str, *, line: int = 1, column: int = 1) -> None:
        place = Place(line, max(column, 1), line, max(column, 1) + 1)
        self._project.broken.add(path)
        self._broken[path] = Use(place, os.path.basename(path), Verdict.UNKNOWN, rule, reason, advice)

    # -- judging -----------------------------------------------------------------------------------------------------

    def _judge(self) -> tuple[list[FileUses], Programs]:
        values = self._values
        self._know_attributes(values)
        loops = LoopCalls(values)
        found: dict[str, FileUses] = {}
        for path, module in list(self._project.modules.items()):
            try:
                uses = judged_uses(module, self._project, values)
                self._loop_calls(uses, loops, module)
            except RecursionError:
                self._break(
                    path, "too-deep", "its expressions are nested too deeply to be followed", "check it by hand"
                )
                uses = self._only(module, self._broken[path])
            except Exception as error:  # of 10,000 files one must not take the report of the others with it
                reason = f"the checker failed on it ({type(error).__name__}: {error})"
                self._break(path, "failed", reason, "check it by hand, and please report it with the file")
                uses = self._only(module, self._broken[path])
            self._step()
            for use in self._extra.get(path, ()):
                if uses.uses or self._mentions(path):
                    uses.uses.append(use)
                    uses.breaking.append(use)
            found[path] = uses
        return list(found.values()), Programs(found, self._broken)

    def _only(self, module: ModuleInfo, use: Use) -> FileUses:
        found = FileUses(module)
        found.uses.append(use)
        found.breaking.append(use)
        return found

    def _mentions(self, path: str) -> bool:
        return any("dspy" in line for line in self._texts.get(path, ()))

    def _loop_calls(self, uses: FileUses, loops: LoopCalls, module: ModuleInfo) -> None:
        for blocking in loops.in_module(module):
            if blocking.verdict is Verdict.UNKNOWN and not uses.uses:
                continue
            sure = blocking.verdict is Verdict.CHANGES
            reason = _BLOCKS if sure else f"if this is a program: {_BLOCKS}"
            uses.uses.append(
                Use(
                    place_of(blocking.record.node),
                    f"{blocking.what}(...)",
                    blocking.verdict,
                    "sync-on-a-loop",
                    reason,
                    (_MAKE_ASYNC if blocking.through else _AWAIT).format(what=blocking.what),
                    blocking.record.unit,
                )
            )

    def _know_attributes(self, values: Values) -> None:
        """Attributes that hold programs, whoever has them: `app.state.rag = RAG()`."""
        found: dict[str, list[Value]] = {}
        for module in self._project.modules.values():
            for info in module.classes:
                for name, bindings in info.attributes.items():
                    for binding in bindings:
                        found.setdefault(name, []).extend(
                            value for value in values.binding(binding) if isinstance(value, Made | Object)
                        )
            for record in module.stores:
                node = record.node
                if isinstance(node, ast.Attribute) and record.value is not None:
                    found.setdefault(node.attr, []).extend(
                        value
                        for value in values.expression(record.value, record.scope)
                        if isinstance(value, Made | Object)
                    )
        self._project.know_attributes({name: list(dict.fromkeys(held)) for name, held in found.items() if held})

    # -- putting together --------------------------------------------------------------------------------------------

    def _file(self, found: FileUses, programs: Programs) -> FileReport:
        path = found.module.path
        uses = [*found.uses, *programs.needed(found)] if found.uses or programs.concerns(found) else []
        placed = [replace(use, place=self._placed(path, use.place)) for use in uses]
        unique = sorted(
            dict.fromkeys(placed), key=lambda use: (use.place.cell or 0, use.place.line, use.place.column, use.name)
        )
        made = tuple(replace(each, place=self._placed(path, each.place)) for each in programs.of_file(found))
        verdict = Verdict.worst([*(use.verdict for use in unique), *(program.verdict for program in made)])
        return FileReport(path, verdict, tuple(unique), made)

    def _placed(self, path: str, place: Place) -> Place:
        """Columns in characters instead of bytes, and for a notebook the cell."""
        if place.cell is not None:
            return place
        lines = self._texts.get(path, [])
        place = Place(
            place.line,
            _characters(lines, place.line, place.column),
            place.end_line,
            _characters(lines, place.end_line, place.end_column),
        )
        starts = self._cells.get(path)
        if starts is None:
            return place
        start, cell = max((start, cell) for start, cell in starts if start < place.line)
        return Place(place.line - start, place.column, place.end_line - start, place.end_column, cell)


def _characters(lines: list[str], line: int, column: int) -> int:
    """ast counts columns in bytes of UTF-8."""
    if not 0 < line <= len(lines) or lines[line - 1].isascii():
        return column
    return len(lines[line - 1].encode("utf-8", "surrogatepass")[: column - 1].decode("utf-8", "replace")) + 1


def _syntax(error: SyntaxError) -> tuple[str, str]:
    message = error.msg or "invalid syntax"
    text = (error.text or "").strip()
    if (
        "print" in message
        or "exec" in message
        or text.startswith(("print ", "exec "))
        or ("except" in text and "," in text)
    ):
        return f"it is not Python 3 ({message})", "it looks like Python 2: convert it first, for example with 2to3"
    return f"it is not Python 3 ({message})", "correct it, or leave it out with --exclude"
