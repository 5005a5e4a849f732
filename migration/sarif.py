"""The report as SARIF 2.1.0, the form in which code hosts and editors take findings."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from .. import engine
from .verdicts import RULES, CheckReport, Use, Verdict

__all__ = ["to_sarif"]

_LEVELS: Final = {
    Verdict.NATIVE: "none",
    Verdict.CHANGES: "warning",
    Verdict.UNKNOWN: "warning",
    Verdict.LEGACY: "error",
}


def to_sarif(report: CheckReport) -> dict[str, Any]:
    """Every finding as a result; native uses are left out. Paths are as they were given."""
    identifiers = list(RULES)
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "dspex check",
                        "rules": [
                            {
                                "id": rule,
                                "shortDescription": {"text": text},
                                "defaultConfiguration": {"level": "warning"},
                            }
                            for rule, text in RULES.items()
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "properties": {"dspy": engine.__version__, "verdict": report.verdict.value},
                "results": [
                    {
                        "ruleId": use.rule,
                        "ruleIndex": identifiers.index(use.rule),
                        "level": _LEVELS[use.verdict],
                        "message": {"text": _message(use)},
                        "locations": [_location(file.path, use)],
                        "properties": {"verdict": use.verdict.value, "name": use.name, "program": use.program},
                    }
                    for file in report.files
                    for use in file.findings
                ],
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [
                            {"level": "note", "message": {"text": f"{problem.path}: {problem.reason}"}}
                            for problem in report.problems
                        ],
                    }
                ],
            }
        ],
    }


def _message(use: Use) -> str:
    where = f" (cell {use.place.cell})" if use.place.cell is not None else ""
    advice = f" To do: {use.advice}." if use.advice else ""
    return f"{use.name}{where}: {use.verdict.value}: {use.reason}.{advice}"


def _location(path: str, use: Use) -> dict[str, Any]:
    place = use.place
    region = {
        "startLine": place.line,
        "startColumn": place.column,
        "endLine": place.end_line,
        "endColumn": max(place.end_column, place.column if place.end_line == place.line else 1),
    }
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(path)}, "region": region}}


def _uri(path: str) -> str:
    return quote(path.replace("\\", "/"))
