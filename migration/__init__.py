"""From a dspy program to a native one: what a code base uses, in which order to move, and the moving itself."""

from .check import check, check_text
from .compare import abenchmark_native_vs_legacy, benchmark_native_vs_legacy
from .compared_program import ComparedProgram, compared_program
from .comparison_data import Row, read_rows, rows_of
from .comparison_html import to_html
from .comparison_report import ComparisonReport, Difference, EngineFigures, Memory
from .convert import Conversion, ConvertedFile, convert
from .errors import (
    BadData,
    BadStatistics,
    ConversionFailed,
    EngineNotStarted,
    MigrationError,
    NotComparable,
    NothingToRead,
    ProgramNotFound,
)
from .interval import Interval, interval
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
    "BadData",
    "BadStatistics",
    "CheckReport",
    "ComparedProgram",
    "ComparisonReport",
    "Compatibility",
    "Conversion",
    "ConversionFailed",
    "ConvertedFile",
    "Difference",
    "EngineFigures",
    "EngineNotStarted",
    "FileReport",
    "Interval",
    "Memory",
    "MigrationError",
    "MigrationPlan",
    "NotComparable",
    "NothingToRead",
    "Place",
    "PlannedProgram",
    "Problem",
    "Program",
    "ProgramNotFound",
    "Rest",
    "Row",
    "Stage",
    "Traffic",
    "Use",
    "Verdict",
    "abenchmark_native_vs_legacy",
    "benchmark_native_vs_legacy",
    "check",
    "check_text",
    "compared_program",
    "convert",
    "interval",
    "plan_as_markdown",
    "read_rows",
    "read_statistics",
    "rows_of",
    "suggest_migration_path",
    "to_html",
    "to_sarif",
    "validate_compatibility",
]
