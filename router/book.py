"""What has been counted. It outlives the actors that write in it, as the flags do."""

from __future__ import annotations

from typing import final

from .flags import Mode
from .outcomes import Outcome
from .request import Engine
from .requirement import Measured
from .rollback import RollbackPolicy, Watch
from .statistics import ArmCounter, ArmStatistics


@final
class Book:
    """What has been counted. For one event loop; ``rollback=None``: nothing is rolled back."""

    def __init__(self, rollback: RollbackPolicy | None = None) -> None:
        self.rollback = rollback
        self.arms: dict[tuple[str, Engine], ArmCounter] = {}
        self.watches: dict[str, Watch] = {}
        self.before: dict[str, tuple[Mode | None, float | None]] = {}
        """What a rolled-back program's flags were."""

    def arm(self, program: str, engine: Engine) -> ArmCounter:
        """The counter of one engine with one program."""
        counter = self.arms.get((program, engine))
        if counter is None:
            counter = self.arms[program, engine] = ArmCounter()
        return counter

    def count(self, outcome: Outcome) -> None:
        """Count one."""
        self.arm(outcome.program, outcome.engine).add(outcome)

    def measured(self, program: str, engine: Engine, percentile: float) -> Measured:
        """What is known of the last answers of one engine, for a ``Requirement``."""
        counter = self.arms.get((program, engine))
        return Measured(0) if counter is None else counter.measured(percentile)

    def statistics(self) -> dict[str, dict[Engine, ArmStatistics]]:
        """By program, then by engine."""
        found: dict[str, dict[Engine, ArmStatistics]] = {}
        for (program, engine), counter in self.arms.items():
            found.setdefault(program, {})[engine] = counter.snapshot()
        return found
