"""What an app has served: counts by program and engine, and the share of them that the native engine got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from .request import Engine
from .statistics import ArmStatistics


@final
@dataclass(frozen=True, slots=True)
class AppStatistics:
    """What has been served since the app was made."""

    programs: Mapping[str, Mapping[Engine, ArmStatistics]]
    """By program, then by engine; programs that nobody has asked are missing."""

    @property
    def requests(self) -> int:
        """All requests that somebody waited for, on either engine."""
        return sum(arm.requests - arm.shadowed for arms in self.programs.values() for arm in arms.values())

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "requests": self.requests,
            "native_share": self.native_share,
            "programs": {
                name: {engine: arm.to_dict() for engine, arm in arms.items()} for name, arms in self.programs.items()
            },
        }

    @property
    def native_share(self) -> float | None:
        """The share of them that was given to the native engine, 0 to 1; None before the first."""
        native = sum(
            arm.requests - arm.shadowed
            for arms in self.programs.values()
            for engine, arm in arms.items()
            if engine == "native"
        )
        return native / self.requests if self.requests else None
