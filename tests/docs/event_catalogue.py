"""The catalogue of events: what the modules of a room say they emit, what they emit, and the page that lists it.

A module that emits events lists them in its docstring (or the room has one module that does), one a line:

    room.thing.happened     data, more data     when or why; the line may go on
                                                below, indented further

(Lists of instruments look the same; their names begin with ``dspex.``, which no event's does.)

``python tests/docs/event_catalogue.py`` writes docs/events.md anew from these lines.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "events.md"
ROOMS = ("runtime", "supervisors", "engine/optimizers", "legacy", "router")

LINE = re.compile(r"^ {4}((?!dspex\.)[a-z_]+(?:\.[a-z_]+)+)(?: {2,}([^\s#].*))?$")
MORE = re.compile(r"^ {12,}(\S.*)$")


@dataclass(frozen=True)
class Entry:
    """One event, as its module describes it."""

    name: str
    data: str
    when: str
    module: str


def modules(room: str) -> Iterator[tuple[str, ast.Module]]:
    for file in sorted((ROOT / room).rglob("*.py")):
        yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text())


def catalogue(room: str) -> list[Entry]:
    """All events that the docstrings of a room's modules list."""
    return [entry for module, tree in modules(room) for entry in listed(module, ast.get_docstring(tree, clean=True) or "")]


def listed(module: str, docstring: str) -> Iterator[Entry]:
    """The lines of a docstring that list an event."""
    entry: Entry | None = None
    for line in docstring.splitlines():
        found = LINE.match(line)
        if found:
            if entry is not None:
                yield entry
            data, _, when = re.sub(r" {2,}", "\t", found[2] or "").partition("\t")
            entry = Entry(found[1], data, when.replace("\t", " "), module)
        elif entry is not None and (more := MORE.match(line)):
            entry = Entry(entry.name, entry.data, f"{entry.when} {more[1]}".strip(), module)
        elif entry is not None:
            yield entry
            entry = None
    if entry is not None:
        yield entry


def emitted(room: str) -> dict[str, str]:
    """Every name that a call of ``emit`` in a room has in its text, and in which file. Names are literals, always: a class
    may put a prefix in front in a method ``_emit`` of its own, which the rest of its module, and modules of the room that
    have none, call with the rest of the name."""
    trees = list(modules(room))
    prefixes = {module: _prefix(tree) for module, tree in trees}
    shared = [prefix for prefix in prefixes.values() if prefix]
    found: dict[str, str] = {}
    for module, tree in trees:
        own = prefixes[module]
        for call, method in _calls(tree):
            if method == "_emit" and own == "":
                continue  # something else by that name
            first = call.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                for prefix in [""] if method == "emit" else [own] if own is not None else shared:
                    found[prefix + first.value] = module
            elif not (method == "emit" and own and isinstance(first, ast.JoinedStr)):
                raise AssertionError(f"{module}:{call.lineno}: the name of an event is a literal, so that it can be found")
    return found


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """``something.events.emit(...)``, ``events.emit(...)`` and ``something._emit(...)``."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
            continue
        bus = ast.unparse(node.func.value).rpartition(".")[2] in ("events", "_events")
        if node.func.attr == "_emit" or (node.func.attr == "emit" and bus):
            yield node, node.func.attr


def _prefix(tree: ast.Module) -> str | None:
    """What the module's own ``_emit`` puts in front of a name; "" if that is about something else, None without one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "_emit":
            for call, _ in _calls(node):
                name = call.args[0]
                if isinstance(name, ast.JoinedStr) and isinstance(name.values[0], ast.Constant):
                    return str(name.values[0].value)
            return ""
    return None


def page() -> str:
    """docs/events.md."""
    parts = [INTRODUCTION]
    for room in ROOMS:
        parts += [f"## {room}\n", *NOTES.get(room, ()), "| event | data | when |", "|---|---|---|"]
        for entry in sorted(catalogue(room), key=lambda entry: entry.name):
            data = ", ".join(f"`{word}`" if re.fullmatch(r"\w+", word) else word for word in entry.data.split(", ") if word)
            when = entry.when.replace("|", r"\|").replace("``", "`")
            parts.append(f"| `{entry.name}` | {data} | {when} |".replace("|  |", "| |"))
        parts.append("")
    return "\n".join(parts)


NOTES = {
    "supervisors": ("Each has also `supervisor`, its label, and `child`, the id of the child it is about.\n",),
    "legacy": (
        "Those of a worker have also `worker` and `incarnation`, those of a warden `warden`, those of a request `request` (a "
        "number, None before it has one) and `program`.\n",
    ),
}

INTRODUCTION = '''\
# Events

Everything that a runtime, its supervisors, the jobs of optimizers, the legacy pool and the router do on their own account is
an event on one bus, `rt.events` (`app.runtime.events` of a `Dspex`). The names below are stable. An event carries its name, the
runtime's time in seconds, and the data listed; never the payload of a message. Without a subscriber it costs one truth test.

```python
import anyio
from dspex.runtime import Actor, Event, open_runtime

class Quiet(Actor):
    pass

heard: list[str] = []

def hear(event: Event) -> None:
    heard.append(f"{event.name} {event.data['process'].partition('#')[0]}")

async def main() -> None:
    async with open_runtime() as rt:
        stop_hearing = rt.events.subscribe(hear, prefix="runtime.process.")
        quiet = await rt.start(Quiet())
        await quiet.stop()
        stop_hearing()

anyio.run(main)
assert heard == ["runtime.process.started Quiet", "runtime.process.exited Quiet"]
```

A subscriber is a plain function, called at once on the event loop: keep it short. What it raises is logged to the standard
logger `dspex.runtime` and goes no further. `log_events(rt.events)` writes events to structlog: crashes and supervisors that
gave up as errors, failed starts and restarts as warnings, the rest as debug; values are named by their type, because their
text may hold what users wrote.

This page is written by `python tests/docs/event_catalogue.py` from the docstrings of the modules; a test compares it with
them, and them with the code.
'''


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
