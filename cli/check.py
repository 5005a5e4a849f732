"""`dspex check`: what of a code base runs natively, by reading it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from ..migration import CheckReport, FileReport, NothingToRead, Verdict, to_sarif
from ..migration import check as check_paths
from .ending import FOUND, Unusable
from .screen import console, progress

if TYPE_CHECKING:
    from rich.console import Console

LEVELS: Final = {
    "changes": Verdict.CHANGES,
    "unknown": Verdict.UNKNOWN,
    "legacy": Verdict.LEGACY,
}
COLOURS: Final = {
    Verdict.NATIVE: "green",
    Verdict.CHANGES: "yellow",
    Verdict.UNKNOWN: "magenta",
    Verdict.LEGACY: "red",
}


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON (schema in docs/migration.md).")
@click.option("--sarif", "as_sarif", is_flag=True, help="Print SARIF 2.1.0, which code hosts show beside the lines.")
@click.option("--all", "show_all", is_flag=True, help="List native uses too, not only what needs attention.")
@click.option(
    "--fail-on",
    type=click.Choice([*LEVELS, "never"]),
    default="changes",
    show_default=True,
    help="Exit with 1 when anything is at this level or above: changes < unknown < legacy.",
)
@click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Leave out names or paths that match: 'tests', '*/old/*'."
)
def check(
    paths: tuple[str, ...], as_json: bool, as_sarif: bool, show_all: bool, fail_on: str, exclude: tuple[str, ...]
) -> None:
    """Say what of the dspy programs in PATHS runs on the native engine.

    Python files and notebooks are read, never run. Every use of dspy is one of:

    \b
      native               runs as it is; `dspex convert` changes the import
      native with changes  runs natively after the edit that is named
      unknown              not understood by reading alone: look at it
      legacy only          runs in the pool of workers with the real dspy

    A file, and a program in it, is as its worst part, whatever file that part is in. Hidden folders, virtual environments,
    caches and build output are left out.

    \b
    Exit status, for CI:
      0   nothing at or above --fail-on
      1   something is
      2   wrong command line, or nothing could be read

    \b
    Examples:
      dspex check src/
      dspex check . --exclude tests --fail-on legacy
      dspex check src/ --sarif > dspex.sarif
    """
    if as_json and as_sarif:
        raise click.UsageError("--json and --sarif are two forms of the same report: give one of them.")
    report = read(paths, exclude, quiet=as_json or as_sarif)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    elif as_sarif:
        click.echo(json.dumps(to_sarif(report), indent=2))
    else:
        _show(report, show_all)
    sys.exit(FOUND if fail_on != "never" and report.at_or_above(LEVELS[fail_on]) else 0)


def read(paths: tuple[str, ...], exclude: tuple[str, ...], *, quiet: bool) -> CheckReport:
    """The report, with progress on a terminal; ends the command where nothing can be read."""
    try:
        with progress(quiet) as told:
            return check_paths(paths, exclude=exclude, progress=told)
    except NothingToRead as error:
        raise Unusable(str(error)) from error


def _show(report: CheckReport, show_all: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = console()
    for file in report.files:
        screen.print(Text.assemble((file.path, "bold"), "  ", (file.verdict.value, COLOURS[file.verdict])))
        _show_programs(screen, file)
        uses = file.uses if show_all else file.findings
        for use in uses:
            screen.print(
                Text.assemble(
                    "  ",
                    (f"{use.place!s:>8}", "dim"),
                    "  ",
                    (f"{use.verdict.value:<19}", COLOURS[use.verdict]),
                    " ",
                    (use.name, "bold"),
                    f": {use.reason}",
                )
            )
            if use.advice:
                screen.print(Text(f"            -> {use.advice}"))
        screen.print()
    for problem in report.problems:
        screen.print(Text(f"passed over: {problem.path}: {problem.reason}", style="dim"))
    table = Table(box=None, pad_edge=False, show_header=True)
    for title, justify in (("", "left"), ("files", "right"), ("programs", "right")):
        table.add_column(title, justify=justify)  # pyright: ignore[reportArgumentType]
    programs: dict[str, Any] = report.to_json()["summary"]["programs"]
    for verdict in Verdict:
        table.add_row(
            Text(verdict.value, style=COLOURS[verdict]), str(report.count(verdict)), str(programs[verdict.value])
        )
    screen.print(table)
    screen.print(Text(_closing(report)))


def _show_programs(screen: Console, file: FileReport) -> None:
    from rich.text import Text

    for program in file.programs:
        made_of = f" ({', '.join(program.modules)})" if program.modules else ""
        screen.print(
            Text.assemble(
                "  ",
                (f"{program.place!s:>8}", "dim"),
                "  ",
                (f"{program.verdict.value:<19}", COLOURS[program.verdict]),
                f" {'program' if program.kind == 'class' else 'predictor'} ",
                (program.name, "bold"),
                made_of,
            )
        )


def _closing(report: CheckReport) -> str:
    if not report.files:
        return f"no use of dspy in {report.read} files"
    count = f"{report.read} files read, {len(report.files)} with dspy"
    match report.verdict:
        case Verdict.NATIVE:
            return f"{count}: all native. Next: dspex convert (shows the edit as a diff)"
        case Verdict.CHANGES:
            return f"{count}. Next: make the edits above, then dspex convert"
        case _:
            return f"{count}. Next: dspex plan (what to move first, by which flags, and what stays)"
