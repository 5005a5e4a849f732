"""A comparison of both engines, on a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..migration import ComparisonReport, EngineFigures
from ..migration.comparison_html import memory_texts, seconds_text
from ..migration.comparison_report import ENGINES
from .screen import console

if TYPE_CHECKING:
    from rich.console import Console


def show(report: ComparisonReport) -> None:
    from rich.text import Text

    screen = console()
    asked = f"{report.rows} rows" + (f", each {report.repeat} times" if report.repeat > 1 else "")
    screen.print(Text.assemble((report.program, "bold"), f"  {report.model or 'model of the program'}, {asked}"))
    screen.print()
    _show_shares(screen, report)
    screen.print()
    _show_engines(screen, report)
    _show_errors(screen, report)
    _show_differences(screen, report)


def _show_shares(screen: Console, report: ComparisonReport) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("", "share", f"{report.confidence:.0%} interval", "rows", "by"):
        table.add_column(title, justify="left" if title in ("", "by") else "right")
    lines = [("parity", report.parity), *((f"  {name}", each) for name, each in report.fields.items())]
    for engine in ENGINES:
        figures = report.engines[engine]
        if figures.agrees_with_itself is not None:
            lines.append((f"{engine} with itself", figures.agrees_with_itself))
        if figures.accuracy is not None:
            lines.append((f"{engine}, as expected", figures.accuracy))
    for name, found in lines:
        share = "-" if found.mean is None else f"{found.mean:.1%}"
        bounds = "-" if found.mean is None else f"{found.low:.1%} to {found.high:.1%}"
        style = "bold" if name == "parity" else ""
        table.add_row(Text(name, style=style), Text(share, style=style), bounds, str(found.n), found.method)
    screen.print(table)
    if report.failed_on_both:
        screen.print(Text(f"{report.failed_on_both} rows failed on both engines and are not in the parity"))


def _show_engines(screen: Console, report: ComparisonReport) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("", *ENGINES):
        table.add_column(title, justify="left" if not title else "right")
    both = [report.engines[engine] for engine in ENGINES]
    memory = memory_texts(report)
    table.add_row("answered", *(str(each.answered) for each in both))
    table.add_row("failed", *(str(each.failed) for each in both))
    for percent in (50, 95):
        table.add_row(f"latency p{percent}", *(seconds_text(each.latency(percent)) for each in both))
    table.add_row("LM calls", *("-" if each.lm_calls is None else str(each.lm_calls) for each in both))
    table.add_row("tokens in, out", *(_tokens(each) for each in both))
    table.add_row("memory", *memory)
    if report.memory.warden_rss is not None:
        table.add_row("", "", f"and {report.memory.warden_rss / 2**20:.1f} MB RSS they are forked from")
    screen.print(table)
    if report.speedup is not None:
        screen.print(f"the legacy engine takes {report.speedup:.2f} times as long as the native one (p50)")


def _tokens(figures: EngineFigures) -> str:
    if not figures.tokens:
        return "-"
    counts = [
        sum(each.get(name, 0) for each in figures.tokens.values()) for name in ("prompt_tokens", "completion_tokens")
    ]
    return ", ".join(str(round(count)) for count in counts)


def _show_errors(screen: Console, report: ComparisonReport) -> None:
    from rich.text import Text

    for engine in ENGINES:
        figures = report.engines[engine]
        for name, count in figures.errors.items():
            first = figures.examples.get(name, "").partition("\n")[0][:200]
            screen.print(Text.assemble(f"{engine}  {count} times ", (name, "red"), f": {first}"))


def _show_differences(screen: Console, report: ComparisonReport) -> None:
    from rich.text import Text

    if not report.differences:
        return
    screen.print()
    shown = report.differences[:5]
    screen.print(
        Text(f"{report.different} rows differ" + (f", the first {len(shown)}:" if report.different > 5 else ":"))
    )
    for each in shown:
        screen.print(Text.assemble(("  row ", "dim"), str(each.row), f"  score {each.score:.2f}"))
        for engine, answer in (("native", each.native), ("legacy", each.legacy)):
            text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
            screen.print(Text(f"    {engine}  {text[:300]}"))
    if report.different > len(shown):
        screen.print(Text("  --json and --html show more of them", style="dim"))
