"""`dspex convert`: the edit to native imports."""

from __future__ import annotations

import json
import sys

import click

from ..engine import MissingExtra
from ..migration import Conversion, ConversionFailed, NothingToRead
from ..migration import convert as convert_paths
from .ending import Unusable
from .screen import console, progress

__all__ = ["convert"]

_LEFT = 1


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option("--write", is_flag=True, help="Make the edit in place. Without it the edit is shown as a diff.")
@click.option(
    "--async", "to_async", is_flag=True, help="Also make programs async: forward becomes aforward and awaits."
)
@click.option("--partly", is_flag=True, help="Also convert files that need changes by hand; the changes are listed.")
@click.option("--json", "as_json", is_flag=True, help="Print states, reasons and diffs as JSON.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out names or paths that match.")
def convert(
    paths: tuple[str, ...], write: bool, to_async: bool, partly: bool, as_json: bool, exclude: tuple[str, ...]
) -> None:
    """Change the imports of dspy in PATHS to those of the native engine.

    `import dspy` becomes `import dspex.engine as dspy`, and names from its submodules come from where the engine has them.
    Comments and formatting stay. A file is converted only if `dspex check` finds all of it native, and all files that it
    shares programs with; every other file is left as it is, with the reason. Converting twice changes nothing.

    The diff goes to stdout and everything else to stderr, so that it can be kept or applied:

    \b
      dspex convert src/ > native.diff && git apply native.diff

    \b
    Exit status: 0 when every file is converted (or was already), 1 when some are left, 2 for a wrong command line, when
    nothing could be read, or when a file could not be written.

    \b
    Examples:
      dspex convert src/
      dspex convert src/ --write
      dspex convert src/app.py --async --write
    """
    try:
        with progress(as_json) as told:
            made = convert_paths(paths, to_async=to_async, partly=partly, exclude=exclude, progress=told)
        if write:
            made.write()
    except (NothingToRead, ConversionFailed, MissingExtra) as error:
        raise Unusable(str(error)) from error
    if as_json:
        click.echo(json.dumps({"written": write, **made.to_json()}, indent=2))
    else:
        _show(made, write)
    sys.exit(_LEFT if made.of("left") else 0)


def _show(made: Conversion, written: bool) -> None:
    if not written:
        screen = console()
        colours = {"+": "green", "-": "red", "@": "cyan"}
        for line in made.diff().splitlines():
            screen.print(line, style=colours.get(line[:1], ""))
    for file in made.files:
        if file.state == "left" or file.reasons:
            click.echo(f"{'left as it is' if file.state == 'left' else 'to do by hand'}: {file.path}", err=True)
            for reason in file.reasons:
                click.echo(f"  {reason}", err=True)
    converted, already, left = (len(made.of(state)) for state in ("converted", "already", "left"))
    verb = "converted" if written else "to convert (--write does it)"
    click.echo(f"{converted} {verb}, {already} already native, {left} left as they are", err=True)
