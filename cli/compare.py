"""`dspex compare`: both engines on the same data, as a table, as JSON, and as a page."""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any, Literal, cast

import click

from ..engine import MissingExtra
from ..engine.lm.local import local_model
from ..legacy import LMSettings, MissingLegacy, PoolOptions
from ..migration import (
    MigrationError,
    benchmark_native_vs_legacy,
    compared_program,
    read_rows,
    to_html,
)
from ..router import Metric
from .comparison_table import show
from .ending import FOUND, Unusable
from .import_path import ImportPath
from .screen import progress


@click.command()
@click.argument("program")
@click.option("--data", required=True, metavar="FILE", type=click.Path(), help="Rows: .json, .jsonl, .csv or .tsv.")
@click.option("--model", metavar="NAME", help="The model that both engines ask: openai/gpt-4o-mini.")
@click.option("--api-base", metavar="URL", help="Where it is served, if not at its provider's address.")
@click.option(
    "--local",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="A model on this machine instead: a GGUF file, or the default one.",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=JSON",
    help="A setting of the model: temperature=0, max_tokens=200.",
)
@click.option(
    "--module",
    type=click.Choice(["Predict", "ChainOfThought"]),
    default="Predict",
    show_default=True,
    help="Around a signature.",
)
@click.option("--state", metavar="FILE", type=click.Path(), help="Load what program.save wrote, on both engines.")
@click.option(
    "--metric", metavar="PATH", help="module:function (legacy, native) -> 0 to 1, or a dict of these; may be async."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-6,
    show_default=True,
    help="By which numbers may differ, relatively.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="FIELD",
    help="An output that may differ, besides reasoning.",
)
@click.option("--inputs", metavar="A,B", help="The columns that are inputs, where the program does not say.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first N rows only.")
@click.option("--repeat", type=click.IntRange(min=1), default=1, show_default=True, help="Ask each row so often.")
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=1, show_default=True, help="Rows at a time, and workers."
)
@click.option("--within", type=float, default=60.0, show_default=True, metavar="SECONDS", help="For one question.")
@click.option(
    "--python", default=sys.executable, metavar="PATH", help="The interpreter of the workers, with its own dspy."
)
@click.option(
    "--min-parity", type=click.FloatRange(0, 1), metavar="BOUND", help="Exit with 1 if the lower bound is under it."
)
@click.option(
    "--confidence", type=click.FloatRange(0.5, 0.999), default=0.95, show_default=True, help="Of the intervals."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON (schema in docs/cli.md).")
@click.option("--html", metavar="FILE", type=click.Path(dir_okay=False), help="Also write it as one page with plots.")
def compare(
    program: str,
    data: str,
    model: str | None,
    api_base: str | None,
    local: str | None,
    options: tuple[str, ...],
    module: Literal["Predict", "ChainOfThought"],
    state: str | None,
    metric: str | None,
    tolerance: float,
    ignore: tuple[str, ...],
    inputs: str | None,
    limit: int | None,
    repeat: int,
    concurrency: int,
    within: float,
    python: str,
    min_parity: float | None,
    confidence: float,
    as_json: bool,
    html: str | None,
) -> None:
    """Run PROGRAM on both engines with the same data and the same model, and say how they compare.

    PROGRAM is the import path of a program, of a function or class that makes one, or of a ProgramSpec: shop.answers:qa, or
    shop/answers.py:qa. A signature will do too: "question -> answer". It runs natively in this process, and in worker
    processes with the real dspy; row by row both are asked in turn, without any cache.

    A row of the data is an object with the program's inputs; what else it holds is what is expected, and shown as each
    engine's accuracy. Answers are the same if all output fields are equal, numbers within --tolerance; or as --metric says.

    Shown are parity with its confidence interval (over rows, by Wilson or bootstrap), the same by field; for each engine
    latency, answers of models and tokens, memory, and errors by class; and the rows that differ. --min-parity takes the
    interval's lower bound: 20 equal rows of 20 are parity 100 %, and at least 83.9 %.

    Keys are taken from where the provider's are: OPENAI_API_KEY, ANTHROPIC_API_KEY.

    \b
    Exit status:
      0   compared (and not under --min-parity)
      1   the parity's lower bound is under --min-parity, or nothing was answered
      2   wrong command line, no such program or data, or an engine that cannot start

    \b
    Examples:
      dspex compare "question -> answer" --data qa.jsonl --local
      dspex compare shop.answers:qa --data qa.csv --model openai/gpt-4o-mini --option temperature=0
      dspex compare shop.answers:qa --data qa.jsonl --model openai/gpt-4o-mini --html report.html
      dspex compare shop.answers:qa --data qa.jsonl --local --min-parity 0.9 --json > report.json
    """
    if local is not None and (model is not None or api_base is not None):
        raise click.UsageError("--local and --model are two models: give one of them")
    if api_base is not None and model is None:
        raise click.UsageError("--api-base says where a model is served: which one? Give --model")
    if options and model is None and local is None:
        raise click.UsageError("--option is a setting of the model: which one? Give --model, or --local")
    if "->" in program and model is None and local is None:
        raise click.UsageError("a signature brings no model: give --model NAME, or --local")
    folders: list[str] = []
    if "->" not in program:
        named = ImportPath(program)
        program = str(named)
        folders.append(named.folder)
    judge = None if metric is None else _metric(metric)
    settings = _options(options)
    try:
        spec = None if local is None else local_model(local or None)
        if spec is not None:
            lm = LMSettings(f"openai/{spec.name}", api_base=spec.base_url, api_key="local", options=settings)
        else:
            lm = None if model is None else LMSettings(model, api_base=api_base, options=settings)
        kept = _state(state)
        compared = compared_program(program, module=module, state=kept)
        rows = read_rows(data, compared, inputs=None if inputs is None else _names(inputs), limit=limit)
        pool = PoolOptions(
            {compared.spec.name: cast("Any", compared.spec.legacy)},
            workers=concurrency,
            python=python,
            import_paths=tuple(folders),
        )
        if html is not None:
            _writable(html)
        with progress(as_json, "comparing") as told:
            report = benchmark_native_vs_legacy(
                compared,
                [{"inputs": row.inputs, "expected": row.expected} for row in rows],
                lm=lm,
                local=spec,
                metric=judge,
                tolerance=tolerance,
                ignore=("reasoning", *ignore),
                repeat=repeat,
                concurrency=concurrency,
                within=within,
                confidence=confidence,
                pool=pool,
                progress=told,
            )
    except (MigrationError, MissingLegacy, MissingExtra, FileNotFoundError) as error:
        raise Unusable(str(error)) from error
    if html is not None:
        Path(html).write_text(to_html(report), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        show(report)
    if report.parity.mean is None:
        click.echo("nothing was answered, on neither engine: the errors say why", err=True)
        sys.exit(FOUND)
    under = min_parity is not None and not report.is_at_least(min_parity)
    if under:
        found = f"at least {report.parity.low:.1%} with {confidence:.0%} confidence"
        text = f"parity is under the bound: {found}, not {min_parity:.1%}"
        click.echo(text, err=True)
    sys.exit(FOUND if under else 0)


def _writable(path: str) -> None:
    """Before anything is asked, rather than after all of it was."""
    try:
        Path(path).touch()
    except OSError as error:
        raise Unusable(f"{path} cannot be written ({error.strerror or error})") from error


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _options(texts: tuple[str, ...]) -> dict[str, object]:
    made: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{text!r} is no setting: write NAME=JSON, as in temperature=0")
        try:
            made[name] = json.loads(value)
        except ValueError:
            made[name] = value
    return made


def _metric(path: str) -> Metric:
    found = ImportPath(path).load()
    if not callable(found):
        raise Unusable(f"{path} is a {type(found).__name__}, and a metric is a function of (legacy, native)")
    try:
        inspect.signature(found).bind(None, None)
    except TypeError as error:
        raise Unusable(f"{path} must take two predictions, (legacy, native) ({error})") from error
    except ValueError:
        pass  # written in C: it cannot be asked
    return cast("Metric", found)


def _state(path: str | None) -> dict[str, object] | None:
    if path is None:
        return None
    from ..router import BadProgram
    from ..router.fitting import read_state

    try:
        return dict(read_state(os.path.basename(path), path))
    except BadProgram as error:
        raise Unusable(str(error)) from error
