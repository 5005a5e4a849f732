"""`suggest_migration_path`: in which order to move the programs of a code base, by which flags, and what stays.

    plan = suggest_migration_path(check(["src"]), statistics=read_statistics("stats.json"))
    print(plan_as_markdown(plan))

What a program needs comes before it. Of those that could be next, the one with the least risk is; of equal risk the one
with the most traffic, where the gain is largest. Each program goes through the router's own modes: it is compared in the
shadow, then rolled out by percentages, then native; its flags are those of `router/flags.py`, checked by it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, final

from ..router import Flags
from ..router.features import find_feature
from .check import check
from .errors import BadStatistics
from .verdicts import CheckReport, Program, Verdict

__all__ = [
    "MigrationPlan",
    "PlannedProgram",
    "Rest",
    "Stage",
    "Traffic",
    "read_statistics",
    "suggest_migration_path",
]

SCHEMA: Final = "dspex.plan"
SCHEMA_VERSION: Final = 1
Risk = Literal["low", "medium", "high"]
Action = Literal["edit", "convert", "shadow", "rollout", "native"]

_PERCENTAGES: Final[Mapping[Risk, tuple[int, ...]]] = {"low": (10, 50), "medium": (5, 25, 50), "high": (1, 5, 25, 50)}
_COMPARED: Final[Mapping[Risk, int]] = {"low": 200, "medium": 500, "high": 1000}
_AGENTS: Final = frozenset({"ReAct", "ReActV2", "CodeAct", "ProgramOfThought", "RLM", "Refine", "BestOfN"})
_ORDER: Final[Mapping[Risk, int]] = {"low": 0, "medium": 1, "high": 2}


@final
@dataclass(frozen=True, slots=True)
class Traffic:
    """What statistics say of a program on the legacy engine, or on both where nothing was legacy."""

    requests: int
    share: float
    """Of all requests, 0 to 1."""
    error_rate: float
    """0 to 1."""
    p95_s: float | None


@final
@dataclass(frozen=True, slots=True)
class Stage:
    """One thing to do, and when to go on."""

    action: Action
    what: str
    flags: Mapping[str, Any]
    """All flags that differ from their defaults from this stage on, as a flag file holds them; empty where none change."""
    until: str
    """When the next stage may begin; empty for at once."""


@final
@dataclass(frozen=True, slots=True)
class PlannedProgram:
    """One program's way."""

    name: str
    """As flags call it: give the `ProgramSpec` this name, or the flags the name it has."""
    path: str
    program: str
    """Its name in the file."""
    verdict: Verdict
    risk: Risk
    why: tuple[str, ...]
    """What makes the risk."""
    after: tuple[str, ...]
    """Programs that it uses, and that come before it."""
    traffic: Traffic | None
    stages: tuple[Stage, ...]


@final
@dataclass(frozen=True, slots=True)
class Rest:
    """A program or file that is not moved, and why."""

    path: str
    program: str
    """Empty for a file without one."""
    verdict: Verdict
    reasons: tuple[str, ...]
    what: str


@final
@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """All of it, in order."""

    start: Mapping[str, Any]
    """The flags before the first step: everything runs in the legacy pool."""
    programs: tuple[PlannedProgram, ...]
    look_at: tuple[Rest, ...]
    """Not understood by reading: a person has to look, and then `dspex plan` again."""
    stays: tuple[Rest, ...]
    """In the legacy pool."""
    unknown_statistics: tuple[str, ...]
    """Programs that the statistics speak of and the code does not."""

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            "start": dict(self.start),
            "programs": [_planned(each) for each in self.programs],
            "look_at": [_rest(each) for each in self.look_at],
            "stays": [_rest(each) for each in self.stays],
            "unknown_statistics": list(self.unknown_statistics),
        }


def suggest_migration_path(
    source: CheckReport | str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    statistics: Mapping[str, Any] | None = None,
    exclude: Sequence[str] = (),
) -> MigrationPlan:
    """The plan for a report of `check`, or for paths.

    Args:
        statistics: of a running application, as `read_statistics` gives them: they bring traffic into the order and
            error rates and latencies into the criteria.
        exclude: as for `check`.

    Raises:
        NothingToRead: as `check`.
        BadStatistics: the statistics are none.
        TypeError: the source is neither a report nor paths.
    """
    if not isinstance(source, CheckReport):
        paths = [source] if isinstance(source, str | os.PathLike) else source
        listed: object = paths  # comes from outside
        if not isinstance(listed, Sequence) or not all(isinstance(path, str | os.PathLike) for path in paths):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"a plan is made from a report of check(), or from paths, not from {type(source).__name__}; "
                "for a program that is there use validate_compatibility"
            )
        source = check(paths, exclude=exclude)
    return _Planning(source, _traffic(statistics)).plan()


def read_statistics(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Statistics from a JSON file: `json.dumps(dataclasses.asdict(await app.stats()))`.

    Raises:
        BadStatistics: the file cannot be read, or holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            held: Any = json.load(file)
    except (OSError, ValueError) as error:
        raise BadStatistics(os.fspath(path), str(error)) from error
    if not isinstance(held, dict) or not isinstance(cast("dict[str, Any]", held).get("programs"), dict):
        raise BadStatistics(os.fspath(path), "there is no object `programs` in it")
    made = cast("dict[str, Any]", held)
    _traffic(made, os.fspath(path))
    return made


def _traffic(statistics: Mapping[str, Any] | None, path: str = "statistics") -> dict[str, Traffic]:
    if statistics is None:
        return {}
    programs: Any = statistics.get("programs")
    if not isinstance(programs, Mapping):
        raise BadStatistics(path, "there is no mapping `programs` in them")
    counted: dict[str, tuple[int, float, float | None]] = {}
    for name, arms in cast("Mapping[str, Any]", programs).items():
        try:
            arm: Any = arms.get("legacy") or arms.get("native") or {}
            every = sum(int(each["requests"]) - int(each.get("shadowed", 0)) for each in arms.values())
            requests = int(arm.get("requests", 0))
            p95 = arm.get("p95_s")
            rate = int(arm.get("failed", 0)) / requests if requests else 0.0
            counted[name] = (every, rate, None if p95 is None else float(p95))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadStatistics(path, f"the entry of {name!r} is not one of app.stats() ({error!r})") from error
    total = sum(requests for requests, _, _ in counted.values())
    return {
        name: Traffic(requests, requests / total if total else 0.0, rate, p95)
        for name, (requests, rate, p95) in counted.items()
    }


class _Planning:
    def __init__(self, report: CheckReport, traffic: dict[str, Traffic]) -> None:
        self._report = report
        self._traffic = traffic
        self._names: dict[tuple[str, str], str] = {}

    def plan(self) -> MigrationPlan:
        movable: list[tuple[str, Program]] = []
        look_at: list[Rest] = []
        stays: list[Rest] = []
        for path, program in self._report.programs:
            if program.verdict is Verdict.LEGACY:
                stays.append(Rest(path, program.name, program.verdict, program.reasons, _STAYS))
            elif program.verdict is Verdict.UNKNOWN:
                look_at.append(Rest(path, program.name, program.verdict, program.reasons, _LOOK_AT))
            else:
                movable.append((path, program))
        for file in self._report.files:
            if file.programs or file.verdict.rank < Verdict.UNKNOWN.rank:
                continue
            reasons = tuple(f"{use.place}: {use.name}: {use.reason}" for use in file.findings)
            legacy = file.verdict is Verdict.LEGACY
            (stays if legacy else look_at).append(
                Rest(file.path, "", file.verdict, reasons, _FILE_STAYS if legacy else _LOOK_AT)
            )
        self._give_names(movable)
        start = {
            "use_native_signatures": False,
            "use_native_predictors": False,
            "use_legacy_optimizer": self._optimizes_in_dspy(),
            "fallback_to_legacy": True,
        }
        planned = self._in_order(movable, start)
        known = {each.name for each in planned}
        return MigrationPlan(
            start, tuple(planned), tuple(look_at), tuple(stays), tuple(sorted(set(self._traffic) - known))
        )

    def _optimizes_in_dspy(self) -> bool:
        """Whether an optimizer is used that the engine does not have."""
        return any(
            use.rule in ("not-offered", "refused")
            and (known := find_feature(use.name)) is not None
            and known.kind in ("optimizers", "finetuning")
            for file in self._report.files
            for use in file.findings
        )

    # -- names -------------------------------------------------------------------------------------------------------

    def _give_names(self, programs: list[tuple[str, Program]]) -> None:
        """Names for flags: those of the statistics where they are the same word, and no two alike."""
        by_word = {_word(name): name for name in self._traffic}
        taken: set[str] = set()
        for path, program in programs:
            short = program.name.rpartition(".")[2]
            name = by_word.get(_word(program.name)) or by_word.get(_word(short)) or _snake(short)
            if name in taken:
                name = f"{_snake(os.path.splitext(os.path.basename(path))[0])}_{name}"
            number = 2
            while name in taken:
                name = f"{name.rstrip('0123456789_')}_{number}"
                number += 1
            taken.add(name)
            self._names[path, program.name] = name

    # -- order -------------------------------------------------------------------------------------------------------

    def _in_order(self, programs: list[tuple[str, Program]], start: Mapping[str, Any]) -> list[PlannedProgram]:
        waiting = {f"{path}:{program.name}": (path, program) for path, program in programs}
        done: list[PlannedProgram] = []
        modes: dict[str, str] = {}
        while waiting:
            free = [
                key
                for key, (_, program) in waiting.items()
                if not any(need in waiting for need in program.needs if need != key)
            ]
            # Programs that use each other move together: then any of them is next.
            key = min(free or list(waiting), key=lambda key: self._rank(*waiting[key]))
            path, program = waiting.pop(key)
            done.append(self._planned(path, program, start, modes))
        return done

    def _rank(self, path: str, program: Program) -> tuple[int, int, int, str]:
        risk, _ = self._risk(program)
        traffic = self._traffic.get(self._names[path, program.name])
        edits = program.verdict.rank
        return edits, _ORDER[risk], -(traffic.requests if traffic is not None else 0), f"{path}:{program.name}"

    def _risk(self, program: Program) -> tuple[Risk, tuple[str, ...]]:
        agents = sorted(_AGENTS & set(program.modules))
        why: list[str] = []
        score = 0
        if program.verdict is Verdict.CHANGES:
            score += 1
            why.append(f"{len(program.reasons)} places to edit")
        if agents:
            score += 1
            why.append(f"it decides what to do next ({', '.join(agents)}), so one other answer changes what follows")
        if len(program.needs) > 1:
            score += 1
            why.append(f"it is made of {len(program.needs)} other programs")
        if not why:
            why.append("every part of it is native" if program.modules else "it holds no predictor of its own")
        risks: tuple[Risk, Risk, Risk] = ("low", "medium", "high")
        return risks[min(score, 2)], tuple(why)

    # -- one program -------------------------------------------------------------------------------------------------

    def _planned(self, path: str, program: Program, start: Mapping[str, Any], modes: dict[str, str]) -> PlannedProgram:
        name = self._names[path, program.name]
        risk, why = self._risk(program)
        traffic = self._traffic.get(name)
        stages: list[Stage] = []
        if program.verdict is Verdict.CHANGES:
            stages.append(Stage("edit", "make the edits: " + "; ".join(program.reasons), {}, "dspex check says native"))
        stages.append(
            Stage(
                "convert",
                f"dspex convert {path}, or dspex.engine.install_as('dspy') before it is imported",
                {},
                "its tests pass",
            )
        )
        compared = _COMPARED[risk]
        stages.append(
            Stage(
                "shadow",
                "both engines answer, the legacy one serves, and differences are recorded",
                self._flags(start, {**modes, name: "shadow"}),
                f"{compared} requests are compared, at least 98 % of them agree, and no new class of error is among the rest",
            )
        )
        bound = _bound(traffic)
        for percent in _PERCENTAGES[risk]:
            stages.append(
                Stage(
                    "rollout",
                    f"{percent} % of the keys are served natively",
                    self._flags(start, {**modes, name: "rollout"}, {name: percent}),
                    f"{compared} native requests: {bound}",
                )
            )
        modes[name] = "native"
        stages.append(
            Stage(
                "native",
                "everything is served natively; what the engine cannot do still falls back to the pool",
                self._flags(start, dict(modes)),
                "a week without fallbacks: then take its legacy side away",
            )
        )
        after = tuple(
            self._names[key]
            for need in program.needs
            if (key := _split(need)) in self._names and self._names[key] != name
        )
        return PlannedProgram(name, path, program.name, program.verdict, risk, why, after, traffic, tuple(stages))

    def _flags(
        self, start: Mapping[str, Any], modes: Mapping[str, str], percents: Mapping[str, float] | None = None
    ) -> dict[str, Any]:
        changes: dict[str, Any] = {**start, "mode": dict(modes)}
        if percents:
            changes["native_percent"] = dict(percents)
        Flags().changed(changes)  # refused here, and not at the user's, if the flags have changed
        return changes


_STAYS: Final = 'keep it in the legacy pool: mode "legacy", a ProgramSpec with a legacy side only'
_FILE_STAYS: Final = (
    "run it with dspy as it is: it serves nothing, and the .json state of what it optimizes is loaded natively"
)
_LOOK_AT: Final = "look at these lines; where they do no harm, say so by writing them so that they can be read"


def _bound(traffic: Traffic | None) -> str:
    if traffic is None:
        return "errors at most 0.5 points above the legacy engine's, p95 at most 1.2 times its"
    latency = (
        "" if traffic.p95_s is None else f", p95 at most {traffic.p95_s * 1.2:.2f} s (legacy {traffic.p95_s:.2f} s)"
    )
    return f"errors at most {traffic.error_rate * 100 + 0.5:.1f} % (legacy {traffic.error_rate * 100:.1f} %){latency}"


def _split(need: str) -> tuple[str, str]:
    path, _, name = need.rpartition(":")
    return path, name


def _word(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _snake(name: str) -> str:
    made = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"\W+", "_", made).strip("_").lower() or "program"


def _planned(each: PlannedProgram) -> dict[str, Any]:
    traffic = each.traffic
    return {
        "name": each.name,
        "path": each.path,
        "program": each.program,
        "verdict": each.verdict.value,
        "risk": each.risk,
        "why": list(each.why),
        "after": list(each.after),
        "traffic": None
        if traffic is None
        else {
            "requests": traffic.requests,
            "share": traffic.share,
            "error_rate": traffic.error_rate,
            "p95_s": traffic.p95_s,
        },
        "stages": [
            {"action": stage.action, "what": stage.what, "flags": dict(stage.flags), "until": stage.until}
            for stage in each.stages
        ],
    }


def _rest(each: Rest) -> dict[str, Any]:
    return {
        "path": each.path,
        "program": each.program,
        "verdict": each.verdict.value,
        "reasons": list(each.reasons),
        "what": each.what,
    }
