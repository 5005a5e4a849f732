"""`dspex plan`: in which order to move, by which flags."""

from __future__ import annotations

import json
import sys

import click

from ..migration import BadStatistics, plan_as_markdown, read_statistics, suggest_migration_path
from .check import read
from .ending import Unusable

__all__ = ["plan"]


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option(
    "--stats", metavar="FILE", type=click.Path(), help="Statistics of a running application, as JSON (see below)."
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON (schema in docs/migration.md).")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown with boxes to tick, also on a terminal.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out names or paths that match.")
def plan(paths: tuple[str, ...], stats: str | None, as_json: bool, as_markdown: bool, exclude: tuple[str, ...]) -> None:
    """Say in which order to move the dspy programs in PATHS to the native engine.

    What a program needs comes before it; then the least risk comes first, and of equal risk the most traffic. For each
    program: the edits, the conversion, the shadow, the percentages of its rollout, the flags of every stage as a flag file
    holds them, and what to wait for. Then what has to be looked at first, and what stays in the legacy pool, and why.

    --stats takes what a running application counts:

    \b
      json.dumps(dataclasses.asdict(await app.stats()))

    \b
    Exit status: 0, or 2 for a wrong command line or when nothing could be read.

    \b
    Examples:
      dspex plan src/
      dspex plan src/ --stats stats.json --markdown > MIGRATION.md
    """
    if as_json and as_markdown:
        raise click.UsageError("--json and --markdown are two forms of the same plan: give one of them.")
    report = read(paths, exclude, quiet=as_json or as_markdown)
    try:
        made = suggest_migration_path(report, statistics=None if stats is None else read_statistics(stats))
    except BadStatistics as error:
        raise Unusable(str(error)) from error
    if as_json:
        click.echo(json.dumps(made.to_json(), indent=2))
    elif as_markdown or not sys.stdout.isatty():
        click.echo(plan_as_markdown(made), nl=False)
    else:
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(plan_as_markdown(made)))
