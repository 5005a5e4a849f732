"""What the migration tools refuse.

MigrationError                  base
├── NothingToRead               no path given holds a Python file, or a path does not exist
├── ProgramNotFound             an import path that gives no program: the module fails, or the name is not there
├── BadStatistics               a file of statistics that is none
├── NotComparable               a program that has one side only, or a setting that makes no comparison
├── BadData                     data to compare on that hold no rows, or rows that the program cannot take
├── EngineNotStarted            an engine, or the local model, cannot be started
└── ConversionFailed            a converted file could not be written; the original is as it was
"""

from __future__ import annotations

__all__ = [
    "BadData",
    "BadStatistics",
    "ConversionFailed",
    "EngineNotStarted",
    "MigrationError",
    "NotComparable",
    "NothingToRead",
    "ProgramNotFound",
]


class MigrationError(Exception):
    """Base of the errors of this room. Says what to do next."""


class NothingToRead(MigrationError):
    """There is nothing at these paths that could be read."""

    def __init__(self, paths: tuple[str, ...], reason: str) -> None:
        self.paths = paths
        super().__init__(f"{', '.join(paths) or 'no path'}: {reason}")


class ProgramNotFound(MigrationError):
    """An import path does not lead to a program; `__cause__` is what the import raised, if it did."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}. Name it as package.module:attribute, where Python can import the package.")


class BadStatistics(MigrationError):
    """A file of statistics is none."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__(
            f"{path}: {reason}. It is a JSON object with `programs`, as `dataclasses.asdict(await app.stats())` gives it."
        )


class ConversionFailed(MigrationError):
    """A file could not be written."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__(f"{path} was not written and is as it was: {reason}")


class NotComparable(MigrationError):
    """Two engines cannot be compared on this; the message says what to change."""


class BadData(MigrationError):
    """Data that cannot be compared on. ``problems`` has a sentence for each of the first rows that are wrong."""

    def __init__(self, where: str, problems: tuple[str, ...], more: int = 0) -> None:
        self.where = where
        self.problems = problems
        self.more = more
        rest = f"; and {more} more rows" if more else ""
        super().__init__(f"{where}: {'; '.join(problems)}{rest}")


class EngineNotStarted(MigrationError):
    """``engine`` ("native", "legacy", "model") cannot be started; ``__cause__`` is why."""

    def __init__(self, engine: str, cause: BaseException, advice: str) -> None:
        self.engine = engine
        what = "the local model" if engine == "model" else f"the {engine} engine"
        super().__init__(f"{what} cannot be started ({type(cause).__name__}: {cause}); {advice}")
