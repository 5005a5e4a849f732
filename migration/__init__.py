"""From a dspy program to a native one: what a code base uses, in which order to move, and the moving itself."""

from .check import check, check_text
from .convert import Conversion, ConvertedFile, convert
from .errors import BadStatistics, ConversionFailed, MigrationError, NothingToRead, ProgramNotFound
from .live import Compatibility, validate_compatibility
from .plan import (
    MigrationPlan,
    PlannedProgram,
    Rest,
    Stage,
    Traffic,
    read_statistics,
    suggest_migration_path,
)
from .plan_text import plan_as_markdown
from .sarif import to_sarif
from .verdicts import CheckReport, FileReport, Place, Problem, Program, Use, Verdict

__all__ = [
    "BadStatistics",
    "CheckReport",
    "Compatibility",
    "Conversion",
    "ConversionFailed",
    "ConvertedFile",
    "FileReport",
    "MigrationError",
    "MigrationPlan",
    "NothingToRead",
    "Place",
    "PlannedProgram",
    "Problem",
    "Program",
    "ProgramNotFound",
    "Rest",
    "Stage",
    "Traffic",
    "Use",
    "Verdict",
    "check",
    "check_text",
    "convert",
    "plan_as_markdown",
    "read_statistics",
    "suggest_migration_path",
    "to_sarif",
    "validate_compatibility",
]
