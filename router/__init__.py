"""One call, two engines: which one serves is a matter of flags."""

from .app import AppStatistics, Dspex
from .arms import Arm, LegacyArm, NativeArm
from .comparison import BadMetric, Metric, Scores, fields_equal
from .decision import Decision, decide
from .errors import (
    AppClosed,
    ArmDown,
    BadFlags,
    BadOptimization,
    BadProgram,
    EngineMissing,
    RouterError,
    UnknownProgram,
)
from .flag_sources import FlagFile, flags_from_environment, flags_from_file, flags_from_mapping
from .flags import FlagChange, Flags, FlagStore, Mode
from .journal import Journal, JournalUnreadable, ShadowReport, shadow_report
from .ledger import Book, Ledger
from .open_feature import Chooser, OpenFeatureChooser
from .optimization import Optimized, optimization_job, optimize, optimized_by
from .outcomes import Observer, Outcome
from .programs import ProgramSpec
from .prometheus import AppCollector
from .request import Answer, Attempt, Engine, Request, Route, RoutedProgram
from .rollback import RollbackPolicy, Verdict, Watch
from .rollout import is_native, place
from .router import FALLBACK_ON, Router, router_children
from .shadow import Comparison, Shadow, ShadowOptions
from .statistics import ArmStatistics

__all__ = [
    "FALLBACK_ON",
    "Answer",
    "AppClosed",
    "AppCollector",
    "AppStatistics",
    "Arm",
    "ArmDown",
    "ArmStatistics",
    "Attempt",
    "BadFlags",
    "BadMetric",
    "BadOptimization",
    "BadProgram",
    "Book",
    "Chooser",
    "Comparison",
    "Decision",
    "Dspex",
    "Engine",
    "EngineMissing",
    "FlagChange",
    "FlagFile",
    "FlagStore",
    "Flags",
    "Journal",
    "JournalUnreadable",
    "Ledger",
    "LegacyArm",
    "Metric",
    "Mode",
    "NativeArm",
    "Observer",
    "OpenFeatureChooser",
    "Optimized",
    "Outcome",
    "ProgramSpec",
    "Request",
    "RollbackPolicy",
    "Route",
    "RoutedProgram",
    "Router",
    "RouterError",
    "Scores",
    "Shadow",
    "ShadowOptions",
    "ShadowReport",
    "UnknownProgram",
    "Verdict",
    "Watch",
    "decide",
    "fields_equal",
    "flags_from_environment",
    "flags_from_file",
    "flags_from_mapping",
    "is_native",
    "optimization_job",
    "optimize",
    "optimized_by",
    "place",
    "router_children",
    "shadow_report",
]
