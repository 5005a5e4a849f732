"""The plan for people: Markdown with boxes to tick, which is also what a terminal shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .plan import MigrationPlan, PlannedProgram, Rest

__all__ = ["plan_as_markdown", "toml"]


def plan_as_markdown(plan: MigrationPlan) -> str:
    """The whole plan; flags as a flag file in TOML holds them."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: MigrationPlan) -> Iterator[str]:
    yield "# Migration plan"
    yield ""
    movable, rest = len(plan.programs), len(plan.stays)
    yield f"{movable} to move, {len(plan.look_at)} to look at first, {rest} to leave in the legacy pool."
    if plan.programs:
        yield ""
        yield "Start with everything in the legacy pool:"
        yield ""
        yield from _fenced(plan.start)
    for number, program in enumerate(plan.programs, 1):
        yield ""
        yield from _program(number, program)
    yield from _rest("Look at first", plan.look_at)
    yield from _rest("Stays in the legacy pool", plan.stays)
    if plan.unknown_statistics:
        yield ""
        yield f"The statistics also speak of {', '.join(plan.unknown_statistics)}, which are not in the code that was read."


def _program(number: int, program: PlannedProgram) -> Iterator[str]:
    yield f"## {number}. {program.name}"
    yield ""
    yield f"`{program.program}` in `{program.path}`: {program.verdict.value}. Risk {program.risk}: {'; '.join(program.why)}."
    if program.after:
        yield f"After {', '.join(program.after)}, which it uses."
    if program.traffic is not None:
        yield f"{program.traffic.share:.0%} of the traffic ({program.traffic.requests} requests)."
    yield ""
    for stage in program.stages:
        until = f" Go on when: {stage.until}." if stage.until else ""
        yield f"- [ ] **{stage.action}**: {stage.what}.{until}"
        if stage.flags:
            yield ""
            yield from (f"  {line}" for line in _fenced(stage.flags))
            yield ""


def _fenced(flags: Mapping[str, Any]) -> Iterator[str]:
    yield "```toml"
    yield from toml(flags)
    yield "```"


def toml(flags: Mapping[str, Any]) -> list[str]:
    """Flags as the lines of a flag file."""
    plain = [f"{name} = {_value(value)}" for name, value in flags.items() if not isinstance(value, Mapping)]
    tables: list[str] = []
    for name, value in flags.items():
        if isinstance(value, Mapping):
            tables += [f"[{name}]", *(f"{_key(key)} = {_value(held)}" for key, held in value.items())]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return [*plain, *tables]


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _value(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _rest(title: str, rest: tuple[Rest, ...]) -> Iterator[str]:
    if not rest:
        return
    yield ""
    yield f"## {title}"
    yield ""
    for each in rest:
        name = f"`{each.program}` in `{each.path}`" if each.program else f"`{each.path}`"
        yield f"- {name}: {each.what}."
        for reason in each.reasons:
            yield f"  - {reason}"
