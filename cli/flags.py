"""`dspex flags`: those of a running application, read and changed, each change on record."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from .control_client import Refused, ask, find_socket
from .ending import FOUND, Unusable
from .status import flag_line

_socket = click.option("--socket", metavar="PATH", help="The application's control socket, where several run.")


@click.group()
def flags() -> None:
    """Read and change the flags of a running application.

    Flags say which engine serves: docs/routing.md lists them. A change holds for every request after it, is made whole or
    not at all, and is on record with your user name (as the kernel tells it) and the reason that you give.

    \b
    Examples:
      dspex flags get
      dspex flags set mode.qa=shadow --reason "ticket 12"
      dspex flags set native_percent.qa=10
      dspex flags history
    """


@flags.command("get")
@click.argument("name", required=False)
@_socket
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def get(name: str | None, socket: str | None, as_json: bool) -> None:
    """Print all flags, or the one called NAME, as `flags set` takes them.

    NAME is a flag, or a flag and a key: mode, mode.qa.

    \b
    Exit status: 0; 1 if the table NAME speaks of has no such key; 2 for a wrong command line, for no such flag, or when
    nobody answers.

    \b
    Examples:
      dspex flags get
      dspex flags get native_percent.qa
      dspex flags get --json | jq .mode
    """
    values: dict[str, Any] = ask(find_socket(socket), "flags.get")["values"]
    if name is None:
        _print(values, as_json)
        return
    flag, dot, key = name.partition(".")
    if flag not in values:
        raise Unusable(f"there is no flag {flag!r}; there are: {', '.join(values)}")
    if not dot:
        _print({flag: values[flag]}, as_json)
    elif not isinstance(values[flag], dict):
        raise Unusable(f"{flag} holds for all programs and has no {key!r}: ask for {flag}")
    elif key not in values[flag]:
        if as_json:
            click.echo("null")
        else:
            click.echo(f"{name} is not set", err=True)
        sys.exit(FOUND)
    else:
        _print({flag: {key: values[flag][key]}}, as_json)


@flags.command("set")
@click.argument("changes", nargs=-1, required=True, metavar="NAME=VALUE...")
@click.option("--reason", metavar="TEXT", help="Why, for the audit trail.")
@_socket
@click.option("--json", "as_json", is_flag=True, help="Print the change as JSON, and problems as a list.")
def change(changes: tuple[str, ...], reason: str | None, socket: str | None, as_json: bool) -> None:
    """Change flags, all of NAME=VALUE together or none.

    A flag that is per program is set by program: mode.qa=shadow, native_percent.qa=10, features.react=legacy,
    require.qa="p95<2s". An empty value takes it away: mode.qa= . A program has one mode, so mode.qa=shadow ends a rollout of
    qa, and native_percent.qa=10 begins one. Whatever is wrong is said at once, and then nothing has changed.

    \b
    Exit status: 0 when the flags hold (or held already); 1 when they are refused; 2 for a wrong command line, or when
    nobody answers.

    \b
    Examples:
      dspex flags set mode.qa=shadow --reason "ticket 12"
      dspex flags set native_percent.qa=10 native_percent.mood=50
      dspex flags set use_native_predictors=false fallback_to_legacy=true
      dspex flags set require.qa="p95<2s" features.qa/react=legacy
      dspex flags set native_percent.qa=
    """
    texts: dict[str, str] = {}
    for text in changes:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{text!r} is no change: write NAME=VALUE, as in mode.qa=shadow")
        if name in texts:
            raise click.UsageError(f"{name} is given twice")
        texts[name] = value
    try:
        told = ask(find_socket(socket), "flags.set", changes=texts, **({} if reason is None else {"reason": reason}))
    except Refused as error:
        if as_json:
            click.echo(json.dumps({"problems": error.problems}, indent=2))
        else:
            click.echo("nothing was changed:", err=True)
            for problem in error.problems or [str(error)]:
                click.echo(f"  {problem}", err=True)
        sys.exit(FOUND)
    made = told["change"]
    if as_json:
        click.echo(json.dumps(made, indent=2))
    elif made is None:
        click.echo("these flags held already: nothing was changed")
    else:
        click.echo(f"{_difference(made)}  (by {made['by']})")


@flags.command("history")
@click.option(
    "--journal",
    metavar="FILE",
    type=click.Path(),
    help="Read a journal (Dspex(journal=...)) instead: also what ran before.",
)
@_socket
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def history(journal: str | None, socket: str | None, as_json: bool) -> None:
    """Say who changed which flag when, oldest first.

    A running application is asked for its last 1000 changes; --journal reads the file that an application with
    Dspex(journal=...) keeps, whether it runs or not, with the changes of earlier runs.

    \b
    Exit status: 0, or 2 for a wrong command line, when nobody answers, or when the file is no journal.

    \b
    Examples:
      dspex flags history
      dspex flags history --journal journal.sqlite --json
    """
    lines = ask(find_socket(socket), "flags.history")["history"] if journal is None else _of_journal(journal)
    if as_json:
        click.echo(json.dumps(lines, indent=2))
        return
    for line in lines:
        when = datetime.fromtimestamp(line["at"], UTC).isoformat(timespec="seconds")
        click.echo(f"{click.style(when, dim=True)}  {click.style(line['by'], bold=True)}  {_difference(line)}")


def _of_journal(path: str) -> list[dict[str, Any]]:
    from ..router import JournalUnreadable, flag_history

    try:
        changes = flag_history(path)
    except JournalUnreadable as error:
        raise Unusable(str(error)) from error
    return [
        {"at": each.at, "by": each.by, "changes": dict(each.changes), "before": dict(each.before)} for each in changes
    ]


def _print(values: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    for name, value in values.items():
        if isinstance(value, dict):
            table: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
            for key, each in table.items():
                click.echo(flag_line(name, {key: each}))
        else:
            click.echo(flag_line(name, value))


def _difference(change: Mapping[str, Any]) -> str:
    """What became of what, key by key: `mode.qa: native -> shadow`."""
    lines: list[str] = []
    for name, after in change["changes"].items():
        before = change["before"].get(name)
        if not isinstance(after, dict):
            lines.append(flag_line(name, after))
            continue
        was: dict[str, Any] = before if isinstance(before, dict) else {}  # pyright: ignore[reportUnknownVariableType]
        now: dict[str, Any] = after  # pyright: ignore[reportUnknownVariableType]
        lines += [flag_line(name, {key: value}) for key, value in now.items() if was.get(key) != value]
        lines += [f"{name}.{key}=" for key in was if key not in now]
    return "  ".join(lines)


__all__ = ["flags"]
