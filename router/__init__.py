"""One call, two engines: which one serves is a matter of flags."""

from .answer_stream import AnswerStream
from .app import Dspex
from .app_statistics import AppStatistics
from .arms import Arm, LegacyArm, NativeArm
from .book import Book
from .comparison import BadMetric, Metric, Scores, fields_equal
from .decision import Decision, decide
from .delivery import AHEAD, FieldChunk
from .errors import (
    AppClosed,
    AppDraining,
    ArmDown,
    BadFlags,
    BadProgram,
    EngineMissing,
    RouterError,
    StreamBroken,
    UnknownField,
    UnknownProgram,
)
from .flag_sources import FlagFile, flags_from_environment, flags_from_file, flags_from_mapping
from .flags import FlagChange, Flags, FlagStore, Mode
from .handles import Handle, TypedAnswer, TypedHandle, TypedStream
from .journal import Journal, JournalUnreadable, ShadowReport, shadow_report
from .ledger import Ledger
from .open_feature import Chooser, OpenFeatureChooser
from .outcomes import Observer, Outcome
from .programs import ProgramSpec
from .prometheus import AppCollector
from .request import Answer, Attempt, Engine, Request, Route, RoutedProgram
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
    "BadProgram",
    "Book",
    "Chooser",
    "Comparison",
    "Decision",
    "Dspex",
    "Engine",
    "EngineMissing",
    "FieldChunk",
    "FlagChange",
    "FlagFile",
    "FlagStore",
    "Flags",
    "Handle",
    "Journal",
    "JournalUnreadable",
    "Ledger",
    "LegacyArm",
    "Metric",
    "Mode",
    "NativeArm",
    "Observer",
    "OpenFeatureChooser",
    "OpenTelemetry",
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
    "StreamBroken",
    "TypedAnswer",
    "TypedHandle",
    "TypedProgram",
    "TypedStream",
    "UnknownField",
    "UnknownProgram",
    "Verdict",
    "Watch",
    "decide",
    "fields_equal",
    "flags_from_environment",
    "flags_from_file",
    "flags_from_mapping",
    "is_native",
    "place",
    "router_children",
    "shadow_report",
    "typed_program",
]
