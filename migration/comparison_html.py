"""A comparison as one HTML page that needs nothing else: its plots are SVG inside it, and it holds no script.

Inputs and answers are text of whoever wrote the data and of models; every one is escaped, and the page's own policy forbids
scripts and loading anything, should one slip through all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from .comparison_report import ENGINES, ComparisonReport, Difference, EngineFigures
from .interval import Interval

_COLOURS: Final = {"native": "#0b7285", "legacy": "#e8590c"}
_SHOWN: Final = 2000
"""Characters of one value."""

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8885; --dim: #888; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem; vertical-align: top; }
th { font-weight: 600; } tr + tr td, thead + tbody td { border-top: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.4 ui-monospace, monospace; }
.native { color: #0b7285; } .legacy { color: #e8590c; } .dim { color: var(--dim); } .big { font-size: 2rem; font-weight: 600; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; } svg { max-width: 100%; height: auto; }
"""


def to_html(report: ComparisonReport) -> str:
    """The page, as text to write to a file in UTF-8."""
    title = f"{report.program}: native and legacy"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="dim">{escape(_about(report))}</p>',
        _parity(report),
        "<h2>Engines</h2>",
        _engines(report),
        "<h2>Latency</h2>",
        _latency_plot(report),
        *_errors(report),
        *_differences(report),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _about(report: ComparisonReport) -> str:
    asked = f"{report.rows} rows" + (f", each {report.repeat} times" if report.repeat > 1 else "")
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items() if number)
    model = report.model or "of the program"
    return f"model {model}; {asked}; {report.concurrency} at a time; {report.seconds:.1f} s; {versions}"


# --- parity ---------------------------------------------------------------------------------------------------------------


def _parity(report: ComparisonReport) -> str:
    measured: list[tuple[str, Interval, str]] = [("parity", report.parity, "currentColor")]
    measured += [(f"field {name}", each, "currentColor") for name, each in report.fields.items()]
    for engine in ENGINES:
        figures = report.engines[engine]
        if figures.agrees_with_itself is not None:
            measured.append((f"{engine} with itself", figures.agrees_with_itself, _COLOURS[engine]))
    for engine in ENGINES:
        figures = report.engines[engine]
        if figures.accuracy is not None:
            measured.append((f"{engine}, as expected", figures.accuracy, _COLOURS[engine]))
    words = f'<p><span class="big">{escape(_share(report.parity))}</span> parity, {report.confidence:.0%} confidence; '
    words += f"{report.different} of {report.rows} rows differ"
    words += f", {report.failed_on_both} failed on both</p>" if report.failed_on_both else "</p>"
    return words + _interval_plot(measured)


def _share(found: Interval) -> str:
    return "no" if found.mean is None else f"{found.mean:.1%}"


def _interval_plot(measured: Sequence[tuple[str, Interval, str]]) -> str:
    left, width, row = 190.0, 480.0, 26.0
    bottom = row * len(measured) + 8
    marks: list[str] = []
    for tick in range(0, 101, 25):
        x = left + width * tick / 100
        marks.append(_line(x, 4, x, bottom, "var(--line)"))
        marks.append(f'<text x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{tick} %</text>')
    for number, (name, found, colour) in enumerate(measured):
        y = row * number + 18
        marks.append(f'<text x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(_short(name, 26))}</text>')
        marks.append(_line(left + width * found.low, y, left + width * found.high, y, colour, 3))
        if found.mean is not None:
            marks.append(f'<circle cx="{left + width * found.mean:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')
        marks.append(f'<text x="{left + width + 14}" y="{y + 4:.1f}">{escape(str(found))} (n={found.n})</text>')
    return _svg(left + width + 230, bottom + 24, "shares with their confidence intervals", marks)


# --- engines --------------------------------------------------------------------------------------------------------------


def _engines(report: ComparisonReport) -> str:
    native, legacy = (report.engines[engine] for engine in ENGINES)
    head = "<tr><th></th>" + "".join(f'<th class="n {engine}">{engine}</th>' for engine in ENGINES) + "</tr>"
    rows = [
        ("answered", str(native.answered), str(legacy.answered)),
        ("failed", str(native.failed), str(legacy.failed)),
        ("latency p50", seconds_text(native.latency(50)), seconds_text(legacy.latency(50))),
        ("latency p95", seconds_text(native.latency(95)), seconds_text(legacy.latency(95))),
        ("LM calls", _count(native.lm_calls), _count(legacy.lm_calls)),
        ("tokens in", _tokens(native, "prompt_tokens"), _tokens(legacy, "prompt_tokens")),
        ("tokens out", _tokens(native, "completion_tokens"), _tokens(legacy, "completion_tokens")),
        ("memory", *memory_texts(report)),
    ]
    if report.memory.warden_rss is not None:
        rows.append(("", "", f"and {_megabytes(report.memory.warden_rss)} RSS that they are forked from"))
    body = "".join(
        f'<tr><td>{a}</td><td class="n">{escape(b)}</td><td class="n">{escape(c)}</td></tr>' for a, b, c in rows
    )
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def seconds_text(value: float | None) -> str:
    """Seconds as people read them."""
    if value is None:
        return "-"
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def memory_texts(report: ComparisonReport) -> tuple[str, str]:
    """Native: what this process grew by. Legacy: the workers' own, by PSS where the system tells it."""
    memory = report.memory
    native = "-" if memory.native_delta is None else f"{_megabytes(memory.native_delta)} more here"
    if memory.worker_rss is None:
        return native, "-"
    many = "1 worker" if memory.workers == 1 else f"{memory.workers} workers"
    if memory.worker_pss is None:
        return native, f"{_megabytes(memory.worker_rss)} RSS in {many}"
    return native, f"{_megabytes(memory.worker_pss)} PSS in {many}"


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.1f} MB"


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _tokens(figures: EngineFigures, name: str) -> str:
    return str(round(sum(counts.get(name, 0) for counts in figures.tokens.values()))) if figures.tokens else "-"


def _latency_plot(report: ComparisonReport) -> str:
    """For each engine, the share of the answers that had come after so long."""
    left, width, height = 50.0, 620.0, 220.0
    longest = max((each for engine in ENGINES for each in report.engines[engine].latencies_s), default=0.0)
    if not longest:
        return "<p>Nothing was answered.</p>"
    marks: list[str] = []
    for tick in range(5):
        x, y = left + width * tick / 4, 10 + height * (1 - tick / 4)
        marks.append(_line(left, y, left + width, y, "var(--line)"))
        marks.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{25 * tick} %</text>')
        marks.append(
            f'<text x="{x:.1f}" y="{height + 28:.1f}" text-anchor="middle">{seconds_text(longest * tick / 4)}</text>'
        )
    for number, engine in enumerate(ENGINES):
        ordered = sorted(report.engines[engine].latencies_s)
        points = [f"{left:.1f},{10 + height:.1f}"]
        for count, each in enumerate(ordered):
            x = left + width * each / longest
            points += [f"{x:.1f},{10 + height * (1 - share / len(ordered)):.1f}" for share in (count, count + 1)]
        colour = _COLOURS[engine]
        marks.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        marks.append(f'<text x="{left + width + 12}" y="{24 + 18 * number}" style="fill:{colour}">{engine}</text>')
    return _svg(left + width + 90, height + 36, "share of the answers that had come, by seconds", marks)


# --- errors and differences -----------------------------------------------------------------------------------------------


def _errors(report: ComparisonReport) -> Iterable[str]:
    rows = [
        f'<tr><td class="{engine}">{engine}</td><td>{escape(name)}</td><td class="n">{count}</td>'
        f"<td><pre>{escape(_short(report.engines[engine].examples.get(name, ''), _SHOWN))}</pre></td></tr>"
        for engine in ENGINES
        for name, count in report.engines[engine].errors.items()
    ]
    if rows:
        yield "<h2>Errors</h2>"
        head = '<tr><th>engine</th><th>class</th><th class="n">times</th><th>the first</th></tr>'
        yield f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _differences(report: ComparisonReport) -> Iterable[str]:
    if not report.differences:
        return
    yield "<h2>Rows that differ</h2>"
    if report.different > len(report.differences):
        yield f'<p class="dim">The first {len(report.differences)} of {report.different}.</p>'
    head = '<tr><th class="n">row</th><th class="n">score</th><th>inputs</th>'
    head += "".join(f'<th class="{engine}">{engine}</th>' for engine in ENGINES) + "</tr>"
    yield f"<table><thead>{head}</thead><tbody>{''.join(map(_difference, report.differences))}</tbody></table>"


def _difference(each: Difference) -> str:
    cells = (_values(each.inputs), _values(each.native), _values(each.legacy))
    shown = "".join(f"<td><pre>{escape(cell)}</pre></td>" for cell in cells)
    return f'<tr><td class="n">{each.row}</td><td class="n">{each.score:.2f}</td>{shown}</tr>'


def _values(values: Mapping[str, Any] | str) -> str:
    if isinstance(values, str):
        return _short(values, _SHOWN)
    return "\n".join(f"{name}: {_short(_text(value), _SHOWN)}" for name, value in values.items())


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>'


def _svg(width: float, height: float, says: str, marks: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<svg {size} role="img" aria-label="{escape(says)}">{"".join(marks)}</svg>'
