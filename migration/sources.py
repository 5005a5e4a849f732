"""Which files are read, and their text: folders are walked, what is not a program's own code is left out, and whatever
cannot be read is said.

Links are followed, each folder once. Left out unless it is named itself: hidden folders and files, virtual environments,
caches, build output, `node_modules`, and what `exclude` matches.
"""

from __future__ import annotations

import fnmatch
import io
import os
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from .verdicts import Problem

__all__ = ["LEFT_OUT", "Source", "SourceError", "find_sources", "read_source"]

LEFT_OUT: Final = (
    *("venv", "env", "virtualenv", "node_modules", "site-packages", "__pycache__", "build", "dist", "__pypackages__"),
    *("*.egg-info", "*.egg"),
)
"""Folders that are left out, beside hidden ones."""

LARGEST: Final = 20 * 1024 * 1024
"""Bytes; a larger file is no program that somebody wrote."""

_ENDINGS: Final = (".py", ".pyw", ".ipynb")
_CODING: Final = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.MULTILINE)


@final
@dataclass(frozen=True, slots=True)
class Source:
    """A file that was found."""

    path: str
    """As it is reported: as the path was given."""
    root: str
    """The folder that was given, or the one of the file that was given."""

    @property
    def is_notebook(self) -> bool:
        """Whether it is a notebook."""
        return self.path.endswith(".ipynb")


@final
class SourceError(Exception):
    """A file has no text that could be read."""


def find_sources(paths: Sequence[str], exclude: Iterable[str] = ()) -> tuple[list[Source], list[Problem]]:
    """Every file below the paths, each once, by path; and what could not be looked into."""
    found: dict[str, Source] = {}
    problems: list[Problem] = []
    patterns = tuple(exclude)
    for path in paths:
        if os.path.isdir(path):
            for file in _walk(path, patterns, problems):
                found.setdefault(os.path.realpath(file), Source(file, path))
        elif os.path.exists(path):
            if os.path.isfile(path):
                found.setdefault(os.path.realpath(path), Source(path, os.path.dirname(path) or "."))
            else:
                problems.append(Problem(path, "it is neither a file nor a folder"))
        else:
            problems.append(Problem(path, "there is no such file or folder"))
    return sorted(found.values(), key=lambda source: source.path), problems


def _walk(root: str, exclude: tuple[str, ...], problems: list[Problem]) -> Iterator[str]:
    seen: set[tuple[int, int]] = set()
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:  # a link to a folder that was walked: a loop, or a second name
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            problems.append(Problem(folder, f"the folder cannot be read: {error.strerror or error}"))
            continue
        for entry in entries:
            if entry.name.startswith(".") or _matches(entry, root, exclude):
                continue
            try:
                if entry.is_dir():
                    if not _left_out(entry):
                        folders.append(entry.path)
                elif entry.name.endswith(_ENDINGS) and entry.is_file():
                    yield entry.path
                elif entry.name.endswith(_ENDINGS) and entry.is_symlink():
                    problems.append(Problem(entry.path, "the link leads nowhere"))
            except OSError as error:
                problems.append(Problem(entry.path, f"it cannot be looked at: {error.strerror or error}"))


def _left_out(entry: os.DirEntry[str]) -> bool:
    if any(fnmatch.fnmatch(entry.name, pattern) for pattern in LEFT_OUT):
        return True
    return os.path.exists(os.path.join(entry.path, "pyvenv.cfg"))  # a virtual environment under any name


def _matches(entry: os.DirEntry[str], root: str, exclude: tuple[str, ...]) -> bool:
    relative = os.path.relpath(entry.path, root)
    return any(
        fnmatch.fnmatch(entry.name, pattern) or fnmatch.fnmatch(relative, pattern.rstrip("/")) for pattern in exclude
    )


def read_source(path: str) -> bytes:
    """The bytes of a file. Raises SourceError with the reason."""
    try:
        if os.path.getsize(path) > LARGEST:
            raise SourceError(f"it is larger than {LARGEST // 2**20} MB")
        return Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"it cannot be read: {error.strerror or error}") from error


def decode(content: bytes) -> str:
    """Python source as text, by its byte order mark or coding line. Raises SourceError."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError("it is UTF-16, which Python does not read")
    if b"\0" in content:
        raise SourceError("it holds null bytes: it is no Python source")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return content.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise SourceError(f"its encoding is not what it says: {error}") from error
