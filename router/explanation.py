"""What `explain` says: which feature runs where and why, as data and as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

from .decision import Decision
from .feature import Status
from .request import Engine

Subject = Literal["feature", "native program", "dspy program", "source", "program"]
"""What was explained. native program, dspy program: a live object of the engine, of the real dspy. source: code that was
read. program: a ``ProgramSpec``."""


@final
@dataclass(frozen=True, slots=True)
class FeatureUse:
    """One feature of a program: where it is used, which engine runs it, and why."""

    feature: str
    dspy: str
    """As dspy calls it."""
    where: tuple[str, ...]
    """Paths in the program, or lines of its source; empty where a feature itself was asked about."""
    status: Status
    engine: Engine | None
    """Which engine runs it by itself; None: neither."""
    reason: str
    todo: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "feature": self.feature,
            "dspy": self.dspy,
            "where": list(self.where),
            "status": self.status,
            "engine": self.engine,
            "reason": self.reason,
            "todo": self.todo,
        }


@final
@dataclass(frozen=True, slots=True)
class Explanation:
    """What runs where, and why. Prints as a table."""

    subject: str
    kind: Subject
    engine: Engine | None
    """Where the whole runs when no flag says otherwise: native if all of it can, else legacy; None: nowhere."""
    reason: str
    uses: tuple[FeatureUse, ...]
    sides: tuple[Engine, ...] | None = None
    """The sides that a ``ProgramSpec`` has; None for everything else."""
    notes: tuple[str, ...] = ()
    """What the reader should know besides."""
    next: Decision | None = None
    """From ``app.explain``: what would be done with the next request; None if it would be refused."""
    refused: str | None = None
    """From ``app.explain``: why the next request would be refused."""

    @property
    def native(self) -> bool:
        """True if all of it runs natively."""
        return self.engine == "native"

    @property
    def features(self) -> frozenset[str]:
        """The ids of the features used."""
        return frozenset(use.feature for use in self.uses)

    @property
    def blockers(self) -> tuple[FeatureUse, ...]:
        """The features that keep it from running natively."""
        return tuple(use for use in self.uses if use.engine != "native")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        following = self.next
        return {
            "subject": self.subject,
            "kind": self.kind,
            "engine": self.engine,
            "reason": self.reason,
            "sides": None if self.sides is None else list(self.sides),
            "features": [use.to_dict() for use in self.uses],
            "notes": list(self.notes),
            "next": None
            if following is None
            else {
                "engine": following.engine,
                "reason": following.reason,
                "flag": following.flag,
                "shadow": following.shadow,
            },
            "refused": self.refused,
        }

    def __str__(self) -> str:
        lines = [f"{self.subject} ({self.kind}): {self.engine or 'nowhere'}, {self.reason}"]
        if self.uses:
            rows = [("feature", "runs", "status", "where", "why")]
            rows += [(u.feature, u.engine or "nowhere", u.status, _places(u.where), u.reason) for u in self.uses]
            widths = [max(len(row[column]) for row in rows) for column in range(4)]
            for row in rows:
                cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
                lines.append(f"  {'  '.join(cells)}  {row[4]}".rstrip())
        lines += [f"  to do for {use.feature}: {use.todo}" for use in self.blockers]
        lines += [f"  note: {note}" for note in self.notes]
        if self.next is not None:
            shadow = f", {self.next.shadow} is compared" if self.next.shadow else ""
            lines.append(f"  next request: {self.next.engine}, because {self.next.reason}{shadow}")
        if self.refused is not None:
            lines.append(f"  next request: refused, {self.refused}")
        return "\n".join(lines)


def _places(where: tuple[str, ...]) -> str:
    return ", ".join(where[:3]) + (f" and {len(where) - 3} more" if len(where) > 3 else "")
