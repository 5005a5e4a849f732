"""From a dspy program to a native one: what a code base uses, in which order to move, and the moving itself."""

from .check import check, check_text
from .errors import BadStatistics, ConversionFailed, MigrationError, NothingToRead, ProgramNotFound
from .sarif import to_sarif
from .verdicts import CheckReport, FileReport, Place, Problem, Program, Use, Verdict

__all__ = [
    "BadStatistics",
    "CheckReport",
    "ConversionFailed",
    "FileReport",
    "MigrationError",
    "NothingToRead",
    "Place",
    "Problem",
    "Program",
    "ProgramNotFound",
    "Use",
    "Verdict",
    "check",
    "check_text",
    "to_sarif",
]
