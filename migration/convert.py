"""`convert`: the move to native imports, as an edit that can be seen first.

    made = convert(["src"])
    print(made.diff())
    made.write()

A file is converted when all of it is native, and all files that it shares objects with are: a program whose parts come
from two engines runs on neither. What is left is left whole, with the reason. Converting twice is converting once.
"""

from __future__ import annotations

import ast
import difflib
import io
import os
import shutil
import tempfile
import tokenize
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, final

from .check import Examination, Progress, examine
from .errors import ConversionFailed
from .rewriting import Asked, LeaveIt, rewrite
from .sources import SourceError, decode, read_source
from .to_async import AsyncEdits, async_edits
from .verdicts import FileReport, Use, Verdict

__all__ = ["Conversion", "ConvertedFile", "convert"]

SCHEMA: Final = "dspex.convert"
SCHEMA_VERSION: Final = 1
State = Literal["converted", "already", "left"]
_BOM: Final = b"\xef\xbb\xbf"


@final
@dataclass(frozen=True, slots=True)
class ConvertedFile:
    """One file that uses dspy."""

    path: str
    state: State
    """converted: it has a new text. already: there is nothing to do. left: it is not touched, see `reasons`."""
    before: bytes
    after: bytes
    """Equal to `before` unless it is converted."""
    reasons: tuple[str, ...]
    """Why it is left; for a converted file what stays to be done by hand."""

    def diff(self) -> str:
        """The edit as a unified diff; empty for none."""
        old, new = (_lines(content) for content in (self.before, self.after))
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in difflib.unified_diff(old, new, f"a/{self.path}", f"b/{self.path}")
        )

    def write(self) -> None:
        """Put the new text in the place of the old, whole or not at all; the file keeps its mode.

        Raises:
            ConversionFailed: the file has changed since it was read, or cannot be written. It is as it was.
        """
        if self.state != "converted":
            return
        target = Path(os.path.realpath(self.path))
        try:
            if target.read_bytes() != self.before:
                raise ConversionFailed(self.path, "it has changed since it was read; convert it again")
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(self.after)
                shutil.copymode(target, temporary)
                os.replace(temporary, target)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise ConversionFailed(self.path, error.strerror or str(error)) from error


@final
@dataclass(frozen=True, slots=True)
class Conversion:
    """All files that use dspy, by path."""

    files: tuple[ConvertedFile, ...]

    def of(self, state: State) -> tuple[ConvertedFile, ...]:
        """The files in this state."""
        return tuple(file for file in self.files if file.state == state)

    def diff(self) -> str:
        """All edits as one unified diff."""
        return "".join(file.diff() for file in self.files)

    def write(self) -> int:
        """Write every converted file; the number of them.

        Raises:
            ConversionFailed: for the first that cannot be written; those before it are.
        """
        for file in self.of("converted"):
            file.write()
        return len(self.of("converted"))

    def to_json(self) -> dict[str, Any]:
        """The result as JSON, without the texts."""
        return {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            "files": [
                {"path": file.path, "state": file.state, "reasons": list(file.reasons), "diff": file.diff()}
                for file in self.files
            ],
        }


def convert(
    paths: Sequence[str | os.PathLike[str]],
    *,
    to_async: bool = False,
    partly: bool = False,
    exclude: Iterable[str] = (),
    progress: Progress | None = None,
) -> Conversion:
    """Work out the edit of every file that uses dspy; nothing is written.

    Args:
        to_async: also make programs async: `forward` becomes `aforward` and awaits its predictors, and calls of programs
            in async functions are awaited. What cannot be made async stays as it is, with the reason.
        partly: also convert files that are native only with changes; the changes are listed and remain to be made.
        exclude, progress: as for `check`.

    Raises:
        NothingToRead: as `check`.
        MissingExtra: (an ImportError) libcst is not installed: the extra `migration`.
    """
    return _Converting(examine(paths, exclude=exclude, progress=progress), to_async, partly, progress).result()


class _Converting:
    def __init__(self, found: Examination, to_async: bool, partly: bool, progress: Progress | None) -> None:
        self._found = found
        self._progress = progress
        self._partly = partly
        self._async: AsyncEdits | None = async_edits(found.project, found.values, found.texts) if to_async else None

    def result(self) -> Conversion:
        reasons = {file.path: self._against(file) for file in self._found.report.files}
        self._spread(reasons)
        files = self._found.report.files
        made: list[ConvertedFile] = []
        for number, file in enumerate(files, 1):
            made.append(self._file(file, reasons[file.path]))
            if self._progress is not None:  # the second pass counts anew: LibCST takes longer than the reading
                self._progress(number, len(files))
        return Conversion(tuple(made))

    # -- which -------------------------------------------------------------------------------------------------------

    def _against(self, file: FileReport) -> list[str]:
        """Why a file cannot be converted."""
        if file.path.endswith(".ipynb"):
            return ["it is a notebook: change the imports in its cells, and await programs there"]
        made = [
            f"{use.place}: {use.name}: {use.verdict.value}: {use.reason}"
            for use in file.findings
            if not self._passes(file, use)
        ]
        if any(use.rule == "offered" and self._by_text(use, file.path) for use in file.uses):
            made.append("it imports dspy by a text, which is not edited")
        return made

    def _passes(self, file: FileReport, use: Use) -> bool:
        if use.verdict is Verdict.CHANGES and self._partly:
            return True
        if use.rule == "needs":
            return True  # it is held back by the file that it imports from, see `_spread`
        if use.verdict is Verdict.LEGACY and use.name == "dspy.ColBERTv2":
            return self._taken_alone(file)
        if self._async is None or use.rule != "sync-on-a-loop":
            return False
        fixed = self._async.fixed[file.path]
        line = use.place.line
        return any(at == line for at, _ in fixed) and use.verdict is Verdict.CHANGES

    def _taken_alone(self, file: FileReport) -> bool:
        """Whether ColBERTv2 is imported by its own name, and so can stay dspy's."""
        module = self._found.project.modules.get(file.path)
        text = "\n".join(self._found.texts.get(file.path, ()))
        return module is not None and "dspy.ColBERTv2" not in text

    def _by_text(self, use: Use, path: str) -> bool:
        lines = self._found.texts.get(path, [])
        line = lines[use.place.line - 1] if 0 < use.place.line <= len(lines) else ""
        return any(word in line for word in ("import_module(", "__import__(", "importorskip("))

    def _spread(self, reasons: dict[str, list[str]]) -> None:
        """Files that share objects are converted together or not at all."""
        beside: dict[str, set[str]] = {path: set() for path in reasons}
        for one, other in self._found.links:
            if one in beside and other in beside:
                beside[one].add(other)
                beside[other].add(one)
        held = [path for path, against in reasons.items() if against and not self._stands_apart(path)]
        while held:
            at = held.pop()
            for neighbour in beside[at]:
                if not reasons[neighbour]:
                    reasons[neighbour].append(
                        f"it shares objects with {at}, which is not converted: their parts would come from two engines"
                    )
                    held.append(neighbour)

    def _stands_apart(self, path: str) -> bool:
        """A notebook imports, and nobody imports it: what it uses may be converted, and it is told so."""
        return path.endswith(".ipynb")

    # -- one file ----------------------------------------------------------------------------------------------------

    def _file(self, file: FileReport, against: list[str]) -> ConvertedFile:
        path = file.path
        before = b""
        try:
            before = read_source(path)
            if against:
                return ConvertedFile(path, "left", before, before, tuple(against))
            text = decode(before)
            after = self._edited(path, text)
        except SourceError as error:
            return ConvertedFile(path, "left", before, before, (*against, str(error)))
        except LeaveIt as error:
            return ConvertedFile(path, "left", before, before, (str(error),))
        stays = tuple(self._async.reasons[path]) if self._async is not None else ()
        if self._partly:
            stays += tuple(f"{use.place}: {use.name}: {use.reason} -> {use.advice}" for use in file.findings)
        if after == text:
            return ConvertedFile(path, "already", before, before, stays)
        return ConvertedFile(path, "converted", before, _encoded(after, before), stays)

    def _edited(self, path: str, text: str) -> str:
        asked = self._async.of(path, text.split("\n")) if self._async is not None else Asked()
        edited = rewrite(text, asked)
        _check_edit(text, edited, only_imports=asked == Asked())
        return edited


def _check_edit(before: str, after: str, *, only_imports: bool) -> None:
    """The edited text is Python, and differs only where it was meant to."""
    try:
        old, new = ast.parse(before), ast.parse(after)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise LeaveIt(f"the edit would not be Python ({error})") from error
    if only_imports and _without_imports(old) != _without_imports(new):
        raise LeaveIt("the edit would change more than its imports")


def _without_imports(tree: ast.Module) -> str:
    class Drop(ast.NodeTransformer):
        def visit_Import(self, node: ast.Import) -> None:
            return None

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            return None

    return ast.dump(Drop().visit(tree))


def _encoded(text: str, before: bytes) -> bytes:
    """In the encoding that the file had, by its own first lines."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(before).readline)
    made = text.encode(encoding)
    return made if not before.startswith(_BOM) or made.startswith(_BOM) else _BOM + made


def _lines(content: bytes) -> list[str]:
    try:
        text = decode(content) if content else ""
    except SourceError:
        text = content.decode("utf-8", "replace")
    return text.splitlines(keepends=True)
