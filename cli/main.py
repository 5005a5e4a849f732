"""`dspex`: the commands, each a thin face over a room.

    dspex doctor                                     is this machine ready, and if not, what to do
    dspex doctor --python /opt/legacy/bin/python     ... with the workers in another environment
    dspex doctor --model openai/gpt-4o-mini --json

    dspex check src/                                 what of a code base runs natively, line by line
    dspex plan src/                                  in which order to move it, by which flags
    dspex convert src/                               the edit, as a diff; --write makes it

The exit status is 0 when all is well, 1 when something was found, 2 for a wrong command line. A command is loaded when it
is asked for (`_COMMANDS`), so that none pays for the libraries of another.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import anyio
import click

from .doctor import Check, Question, examine

_COLOURS = {"ok": "green", "warning": "yellow", "broken": "red"}
_MARKS = {"ok": "ok     ", "warning": "warning", "broken": "BROKEN "}


_COMMANDS = {
    "check": ".check:check",
    "convert": ".convert:convert",
    "plan": ".plan:plan",
}
"""Commands in files of their own: name to module and object."""


class _Commands(click.Group):
    """Loads those commands when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = _COMMANDS[cmd_name].partition(":")
        return getattr(importlib.import_module(module, __package__), name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dspex", prog_name="dspex")
def main() -> None:
    """LM programs as supervised actors: a native DSPy engine, a pool of real dspy workers, and a router between them."""


@main.command()
@click.option("--python", default=sys.executable, metavar="PATH", help="The interpreter of the legacy workers.")
@click.option(
    "--model", metavar="NAME", help="Also ask whether this model's provider can be reached: openai/gpt-4o-mini."
)
@click.option("--api-base", metavar="URL", help="Where the model is served, if not at its provider's address.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead of text.")
def doctor(python: str, model: str | None, api_base: str | None, as_json: bool) -> None:
    """Check this machine: Python, extras, dspy in a worker, kernel features, limits, the model's endpoint.

    Nothing is installed or changed, and no model is asked anything: an endpoint is only asked for its list of models. With
    each finding that is not in order comes what to do about it.
    """

    def show(check: Check) -> None:
        if as_json:
            return
        click.echo(f"{click.style(_MARKS[check.state], fg=_COLOURS[check.state])}  {check.name}: {check.found}")
        if check.advice:
            click.echo(f"         -> {check.advice}")

    question = Question(python=python, model=model, api_base=api_base)
    checks: Sequence[Check] = anyio.run(examine, question, show)
    broken = [check for check in checks if check.state == "broken"]
    if as_json:
        found: list[dict[str, Any]] = [asdict(check) for check in checks]
        click.echo(json.dumps(found, indent=2))
    elif broken:
        click.echo(f"\n{len(broken)} of {len(checks)} broken: {', '.join(check.name for check in broken)}")
    else:
        click.echo(f"\nnothing is broken ({len(checks)} checks)")
    sys.exit(1 if broken else 0)
