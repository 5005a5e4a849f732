"""One call, two engines: which one serves is a matter of flags."""

from .arms import Arm, LegacyArm, NativeArm
from .decision import Decision, decide
from .errors import ArmDown, BadFlags, EngineMissing, RouterError, UnknownProgram
from .flags import FlagChange, Flags, FlagStore
from .request import Answer, Attempt, Request, Route, RoutedProgram
from .rollout import is_native, place
from .router import FALLBACK_ON, Router, router_children

__all__ = [
    "FALLBACK_ON",
    "Answer",
    "Arm",
    "ArmDown",
    "Attempt",
    "BadFlags",
    "Decision",
    "EngineMissing",
    "FlagChange",
    "FlagStore",
    "Flags",
    "LegacyArm",
    "NativeArm",
    "Request",
    "Route",
    "RoutedProgram",
    "Router",
    "RouterError",
    "UnknownProgram",
    "decide",
    "is_native",
    "place",
    "router_children",
]
