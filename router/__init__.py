"""One call, two engines: which one serves is a matter of flags."""

from .answer_stream import AnswerStream
from .app import Dspex
from .app_statistics import AppStatistics
from .arms import Arm, LegacyArm, NativeArm
from .book import Book
from .comparison import BadMetric, Metric, Scores, fields_equal
from .control import ControlServer
from .decision import Decision, decide
from .delivery import AHEAD, FieldChunk
from .errors import (
    AppClosed,
    AppDraining,
    ArmDown,
    BadFlags,
    BadOptimization,
    BadProgram,
    ControlTaken,
    ControlUnavailable,
    EngineMissing,
    RouterError,
    StreamBroken,
    UnknownFeature,
    UnknownField,
    UnknownProgram,
    UnreadableProgram,
)
from .explain import explain
from .explanation import Explanation, FeatureUse
from .feature import Feature, Status
from .features import FEATURES, feature, matrix
from .flag_journal import FlagJournal, RecordedChange, flag_history
from .flag_sources import FlagFile, flags_from_environment, flags_from_file, flags_from_mapping, read_environment
from .flags import FlagChange, Flags, FlagStore, Mode
from .handles import Handle, TypedAnswer, TypedHandle, TypedStream
from .journal import Journal, JournalUnreadable, ShadowReport, shadow_report
from .judge import judged_by
from .ledger import Ledger
from .open_feature import Chooser, OpenFeatureChooser, OpenFeatureFlags
from .optimization import Optimized, optimization_job, optimize, optimized_by
from .outcomes import Observer, Outcome
from .programs import ProgramSpec
from .prometheus import AppCollector
from .request import Answer, Attempt, Engine, Request, Route, RoutedProgram
from .requirement import Chosen, Measured, Requirement, meet
from .rollback import RollbackPolicy, Verdict, Watch
from .rollout import is_native, place
from .router import FALLBACK_ON, Router, router_children
from .shadow import Comparison, Shadow, ShadowOptions
from .statistics import ArmStatistics
from .telemetry import OpenTelemetry
from .typed_programs import TypedProgram, typed_program

__all__ = [
    "AHEAD",
    "FALLBACK_ON",
    "FEATURES",
    "Answer",
    "AnswerStream",
    "AppClosed",
    "AppCollector",
    "AppDraining",
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
    "Chosen",
    "Comparison",
    "ControlServer",
    "ControlTaken",
    "ControlUnavailable",
    "Decision",
    "Dspex",
    "Engine",
    "EngineMissing",
    "Explanation",
    "Feature",
    "FeatureUse",
    "FieldChunk",
    "FlagChange",
    "FlagFile",
    "FlagJournal",
    "FlagStore",
    "Flags",
    "Handle",
    "Journal",
    "JournalUnreadable",
    "Ledger",
    "LegacyArm",
    "Measured",
    "Metric",
    "Mode",
    "NativeArm",
    "Observer",
    "OpenFeatureChooser",
    "OpenFeatureFlags",
    "OpenTelemetry",
    "Optimized",
    "Outcome",
    "ProgramSpec",
    "RecordedChange",
    "Request",
    "Requirement",
    "RollbackPolicy",
    "Route",
    "RoutedProgram",
    "Router",
    "RouterError",
    "Scores",
    "Shadow",
    "ShadowOptions",
    "ShadowReport",
    "Status",
    "StreamBroken",
    "TypedAnswer",
    "TypedHandle",
    "TypedProgram",
    "TypedStream",
    "UnknownFeature",
    "UnknownField",
    "UnknownProgram",
    "UnreadableProgram",
    "Verdict",
    "Watch",
    "decide",
    "explain",
    "feature",
    "fields_equal",
    "flag_history",
    "flags_from_environment",
    "flags_from_file",
    "flags_from_mapping",
    "is_native",
    "judged_by",
    "matrix",
    "meet",
    "optimization_job",
    "optimize",
    "optimized_by",
    "place",
    "read_environment",
    "router_children",
    "shadow_report",
    "typed_program",
]
