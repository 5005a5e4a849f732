"""Record what the Erlang/OTP of this machine does with scenarios; needs ``erl`` and ``erlc`` (Debian: erlang-base).

    python tests/conformance/record.py SCENARIOS.jsonl RECORDS.jsonl [--runs 4]

A scenario is a record without its trace. Each is run several times by ``oracle.erl``: with one scheduler and with two,
undisturbed and with random pauses. A step of the trace becomes as strict as Erlang was in all runs: in total order, else by
scope, else by process; a scenario whose results or messages differ between runs is dropped, and named. What is left may
still depend on a schedule that did not occur: before a difference is called a fault, ask whether signals of different
senders may arrive in another order.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from compare import compare, dynamic_sups, groups, key, split
from replay import records

HERE = Path(__file__).parent
CONDITIONS = [(2, "0"), (1, "0"), (2, "1"), (1, "1")]
"""(schedulers, pauses), taken in turn."""

Record = dict[str, Any]


def term(value: Any) -> str:
    """JSON as an Erlang term: strings are binaries, keys atoms."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            return "<<" + json.dumps(value) + ">>"
        case list():
            return "[" + ",".join(map(term, value)) + "]"
        case dict():
            return "#{" + ",".join(f"'{name}' => {term(item)}" for name, item in value.items()) + "}"
    raise TypeError(f"{value!r} does not occur in scenarios")


def run(scenarios: list[Record], folder: Path, schedulers: int, pauses: str) -> dict[str, Record]:
    """One run of all of them: raw traces by name."""
    given, traced = folder / "scenarios.term", folder / "traces.jsonl"
    wanted = ("name", "tree", "steps")
    given.write_text("".join(term({k: s[k] for k in wanted if k in s}) + ".\n" for s in scenarios))
    command = ["erl", "-noshell", "+S", str(schedulers), "-pa", str(folder), "-run", "oracle", "main"]
    subprocess.run([*command, str(given), str(traced), pauses], check=True, cwd=folder)
    return {raw["name"]: raw for raw in records(traced)}


def trace(scenario: Record, raw: Record) -> Record:
    """A raw trace as a TRACE of the schema, as strict as can be."""
    dynamic = dynamic_sups(scenario)
    scopes: dict[str, str] = {}
    steps: list[Record] = []
    for group, step in zip(groups(scenario["steps"]), raw["steps"], strict=True):
        life, messages, reports = split(step["ev"], scopes, dynamic)
        unordered = [s["op"] == "which_children" and s["sup"].partition("#")[0] in dynamic for s in group]
        results = [
            sorted(result, key=key) if bag and isinstance(result, list) else result
            for bag, result in zip(unordered, step["r"], strict=True)
        ]
        found: Record = {"r": results, "life": life, "order": "total", "msgs": messages, "reports": reports}
        if not life:
            del found["order"]
        steps.append({name: value for name, value in found.items() if name == "r" or value})
    return {"steps": steps, "final": raw["final"]}


def agreed(scenario: Record, raws: list[Record]) -> Record | None:
    """The record that all runs satisfy; None if there is none."""
    if any("error" in raw for raw in raws):
        return None
    record = {**scenario, "trace": trace(scenario, raws[0])}
    for _ in range(4):  # each round weakens what differed
        differences = [found for raw in raws[1:] for found in compare(record, raw, True)]
        if not differences:
            return record
        for difference in differences:
            head = difference.partition("\n")[0]
            if not head.startswith("group ") or not _weaken(record["trace"]["steps"][int(head.split()[1])], head):
                return None
    return None


def _weaken(step: Record, what: str) -> bool:
    """False: this may not differ."""
    if "life(total)" in what:
        step["order"] = "scoped"
    elif "life(scoped)" in what and step.get("life"):
        step["loose"] = sorted({event[-1] for event in step["life"]} | {event[1] for event in step["life"]})
    elif "messages" in what and step.get("msgs"):
        step["msg_bag"] = sorted(step["msgs"])
    elif "reports" in what:
        step["reports_nondet" if step.get("reports_bag") else "reports_bag"] = True
    else:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", type=Path)
    parser.add_argument("records", type=Path)
    parser.add_argument("--runs", type=int, default=4)
    options = parser.parse_args()
    if shutil.which("erlc") is None or shutil.which("erl") is None:
        parser.error("recording needs Erlang: erl and erlc are not on the PATH (Debian: apt-get install erlang-base)")
    scenarios = list(records(options.scenarios))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["erlc", "-o", folder, str(HERE / "oracle.erl")], check=True)
        runs = [run(scenarios, Path(folder), *CONDITIONS[n % len(CONDITIONS)]) for n in range(options.runs)]
    dropped = 0
    with options.records.open("w") as out:
        for scenario in scenarios:
            record = agreed(scenario, [raws[scenario["name"]] for raws in runs])
            if record is None:
                dropped += 1
                print(f"{scenario['name']}: no two runs need be alike, dropped")
            else:
                out.write(json.dumps(record, separators=(",", ":")) + "\n")
    print(f"recorded {len(scenarios) - dropped}, dropped {dropped}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
