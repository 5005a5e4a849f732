"""What the migration tools refuse.

MigrationError                  base
├── NothingToRead               no path given holds a Python file, or a path does not exist
├── ProgramNotFound             an import path that gives no program: the module fails, or the name is not there
├── BadStatistics               a file of statistics that is none
└── ConversionFailed            a converted file could not be written; the original is as it was
"""

from __future__ import annotations

__all__ = ["BadStatistics", "ConversionFailed", "MigrationError", "NothingToRead", "ProgramNotFound"]


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
