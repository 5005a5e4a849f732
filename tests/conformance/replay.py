"""Replay scenarios whose traces were recorded from Erlang/OTP 25, and compare.

    python tests/conformance/replay.py [--backend asyncio|trio] [--no-reports] FILE.jsonl...

Prints the scenarios that differ, then ``replayed N, equal M``. The exit status is 1 if one differs that may not: those tagged
with something in DELIBERATE are printed with the reason and do not count as failures. Time is virtual. Unless told
otherwise, the supervisors' reports are compared as well, which the schema leaves open.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
from compare import compare
from dspex.runtime.testing import virtual_backend
from otp_driver import replay

DELIBERATE = {
    "otp_quirk": (
        "Two oddities of OTP 25 are not copied. A dynamic child that asks to be ignored when it is restarted stays there as an "
        "entry without a process, counts as active, and makes its supervisor crash with function_clause when it stops: here it "
        "is forgotten, as it is when it asks at its first start. And terminating a dynamic child that is being restarted "
        "leaves `active` one too low for ever: here it counts what there is."
    ),
}
"""Tags of scenarios that may differ, with the reason."""


def records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def differences(record: dict[str, Any], backend: str, *, reports: bool = True) -> list[str]:
    """Run one scenario; what differs from OTP's trace."""
    name, options = virtual_backend(backend)
    try:
        actual = anyio.run(replay, record, backend=name, backend_options=options)
    except Exception:
        return ["it raised\n" + traceback.format_exc()]
    return compare(record, actual, reports)


def excuse(record: dict[str, Any]) -> str | None:
    """Why this scenario may differ; None: it may not."""
    return next((DELIBERATE[tag] for tag in record["tags"] if tag in DELIBERATE), None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--no-reports", action="store_true", help="do not compare the supervisors' reports")
    parser.add_argument("--only", help="replay the scenarios whose name contains this")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.jsonl")
    options = parser.parse_args()
    replayed = equal = excused = 0
    for path in options.files:
        for record in records(path):
            if options.only and options.only not in record["name"]:
                continue
            replayed += 1
            found = differences(record, options.backend, reports=not options.no_reports)
            if not found:
                equal += 1
                continue
            reason = excuse(record)
            excused += reason is not None
            print(record["name"] + (f": deliberately different. {reason}" if reason else ""))
            for difference in found:
                print("    " + difference.replace("\n", "\n    "))
    print(f"replayed {replayed}, equal {equal}")
    return 0 if replayed == equal + excused else 1


if __name__ == "__main__":
    sys.exit(main())
