"""`dspex`: the commands, each a thin face over a room.

    dspex doctor                                     is this machine ready, and if not, what to do

    dspex check src/                                 what of a code base runs natively, line by line
    dspex plan src/                                  in which order to move it, by which flags
    dspex convert src/                               the edit, as a diff; --write makes it
    dspex compare shop.answers:qa --data qa.jsonl    both engines on the same data: the evidence

    dspex run shop.app:app                           an application, until a signal drains it
    dspex status                                     what it does now: tree, pools, flags, rates
    dspex flags set mode.qa=shadow                   ... and what it shall do

The exit status is 0 when all is well, 1 when something was found, 2 when a command could not do its work (`ending`). A
command is loaded when it is asked for, so that none pays for the libraries of another, and `dspex --help` for none.
"""

from __future__ import annotations

import importlib
import os
from typing import Final, NamedTuple

import click


class _Loaded(NamedTuple):
    """A command in a file of its own."""

    where: str
    """Module and object."""
    help: str
    """Its line in `dspex --help`, which loads none of them."""


COMMANDS: Final = {
    "check": _Loaded(".check:check", "Say what of the dspy programs in PATHS runs on the native engine."),
    "compare": _Loaded(
        ".compare:compare",
        "Run PROGRAM on both engines with the same data and the same model, and say how they compare.",
    ),
    "convert": _Loaded(".convert:convert", "Change the imports of dspy in PATHS to those of the native engine."),
    "doctor": _Loaded(
        ".doctor:doctor",
        "Check this machine: Python, extras, dspy in a worker, kernel features, limits, the model's endpoint.",
    ),
    "flags": _Loaded(".flags:flags", "Read and change the flags of a running application."),
    "plan": _Loaded(".plan:plan", "Say in which order to move the dspy programs in PATHS to the native engine."),
    "run": _Loaded(".run:run", "Keep the application APP open until a signal drains it."),
    "status": _Loaded(
        ".status:status", "Show what a running application does: its supervision tree, pools, flags, and rates."
    ),
}


class _Commands(click.Group):
    """Loads them when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].where.partition(":")
        return getattr(importlib.import_module(module, __package__), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in self.list_commands(ctx)])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dspex", prog_name="dspex")
@click.pass_context
def main(ctx: click.Context) -> None:
    """LM programs as supervised actors: a native DSPy engine, a pool of real dspy workers, and a router between them.

    \b
    From a dspy code base to native programs:
      dspex check src/             what runs natively, what does not, and why
      dspex plan src/              in which order to move, by which flags
      dspex convert src/           the edit, as a diff
      dspex compare PROGRAM ...    both engines on the same data: the evidence

    \b
    A running application:
      dspex run shop.app:app       keep it open; SIGTERM drains it
      dspex status --watch         what it does
      dspex flags set mode.qa=shadow --reason "ticket 12"

    `dspex COMMAND --help` has examples of each, and what its exit status means. Colours are left out where NO_COLOR is set
    and where nobody is at a terminal.

    \b
    Completion, for bash (zsh_source and fish_source for the others):
      eval "$(_DSPEX_COMPLETE=bash_source dspex)"
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
