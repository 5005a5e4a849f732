"""Signatures, adapters and tools beside the installed dspy: microseconds of CPU per operation, and how many times lighter.

    python benchmarks/engine_adapters.py [--quick] [--json FILE]

Both engines run in one process, in turns of a few milliseconds, so that a busy machine weighs on both alike; each
figure is the median of the turns, in process CPU time. What is compared is checked to be equal first. Needs the extra
`legacy` (dspy).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
from dspex.engine import adapters, signatures
from dspex.engine import types as ours

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dspy's own dependencies warn at import
    try:
        import dspy
        from dspy.adapters.baml_adapter import BAMLAdapter
    except ImportError:
        sys.exit("This benchmark compares with dspy: install the extra `legacy` (pip install 'dspex[legacy]').")

TYPED = "question, context: list[str] -> reasoning: str, answer: str, score: float"
INPUTS = {
    "question": "Who built the tower, and when?",
    "context": ["Passage one. " * 12, "Passage two. " * 12, "Three."],
}
DEMOS = [
    {
        "question": f"Question {n}?",
        "context": ["One.", "Two."],
        "reasoning": "Because.",
        "answer": f"{n}",
        "score": n / 8,
    }
    for n in range(8)
]
CHAT = "[[ ## reasoning ## ]]\nBecause.\n\n[[ ## answer ## ]]\nParis\n\n[[ ## score ## ]]\n0.9\n\n[[ ## completed ## ]]"
XML = "<reasoning>\nBecause.\n</reasoning>\n\n<answer>\nParis\n</answer>\n\n<score>\n0.9\n</score>"
JSON = '{"reasoning": "Because.", "answer": "Paris", "score": 0.9}'

Operation = Callable[[], object]
_fresh = itertools.count()


def operations() -> dict[str, tuple[Operation, Operation]]:
    """Each row: ours, dspy's."""
    mine, theirs = signatures.Signature(TYPED), dspy.Signature(TYPED)
    rows: dict[str, tuple[Operation, Operation]] = {
        "signature from a new string": (
            lambda: signatures.Signature(f"q{next(_fresh)}, context: list[str] -> answer: str, score: float"),
            lambda: dspy.Signature(f"q{next(_fresh)}, context: list[str] -> answer: str, score: float"),
        ),
        "signature from a known string": (lambda: signatures.Signature(TYPED), lambda: dspy.Signature(TYPED)),
        "with_instructions": (lambda: mine.with_instructions("x"), lambda: theirs.with_instructions("x")),
        "append": (
            lambda: mine.append("x", signatures.OutputField(), int),
            lambda: theirs.append("x", dspy.OutputField(), int),
        ),
        "delete": (lambda: mine.delete("score"), lambda: theirs.delete("score")),
        "with_updated_fields": (
            lambda: mine.with_updated_fields("score", desc="x"),
            lambda: theirs.with_updated_fields("score", desc="x"),
        ),
    }
    for name, answer in (("ChatAdapter", CHAT), ("JSONAdapter", JSON), ("XMLAdapter", XML), ("BAMLAdapter", JSON)):
        rows |= adapter_rows(name, mine, theirs, answer)
    return rows | nested_rows() | history_rows() | tool_rows()


class Address(pydantic.BaseModel):
    street: str
    city: str


class Person(pydantic.BaseModel):
    name: str
    age: int
    addresses: list[Address]


def nested_rows() -> dict[str, tuple[Operation, Operation]]:
    """Structured outputs, where the types are shown and read."""
    text = "note: str -> person: Person, tags: list[str]"
    mine = signatures.Signature(text, custom_types={"Person": Person})
    theirs = dspy.Signature(text, custom_types={"Person": Person})
    ada = Person(name="Ada", age=36, addresses=[Address(street="1 St", city="London")])
    demos = [{"note": f"Note {n}", "person": ada, "tags": ["x", "y"]} for n in range(8)]
    inputs = {"note": "Some note."}
    json_answer = json.dumps({"person": ada.model_dump(), "tags": ["a", "b"]})
    xml_answer = (
        "<person><name>Ada</name><age>36</age><addresses><item><street>1 St</street><city>London</city></item>"
        "</addresses></person>\n<tags><item>a</item><item>b</item></tags>"
    )
    rows: dict[str, tuple[Operation, Operation]] = {}
    for name, answer in (("XMLAdapter", xml_answer), ("BAMLAdapter", json_answer)):
        rows |= adapter_rows(name, mine, theirs, answer, demos, inputs, ", nested")
    return rows


def history_rows() -> dict[str, tuple[Operation, Operation]]:
    """A conversation of eight turns."""
    text = "question: str, history: History -> answer: str"
    mine = signatures.Signature(text, custom_types={"History": ours.History})
    theirs = dspy.Signature(text, custom_types={"History": dspy.History})
    turns = [{"question": f"Question {n}?", "answer": "Because."} for n in range(8)]
    my_inputs = {"question": "Why?", "history": ours.History(messages=turns)}
    their_inputs = {"question": "Why?", "history": dspy.History(messages=turns)}
    my_adapter, their_adapter = adapters.ChatAdapter(), dspy.ChatAdapter()
    assert my_adapter.format(mine, [], my_inputs) == their_adapter.format(theirs, [], their_inputs)
    return {
        "ChatAdapter.format, history of 8": (
            lambda: my_adapter.format(mine, [], my_inputs),
            lambda: their_adapter.format(theirs, [], their_inputs),
        )
    }


def tool_rows() -> dict[str, tuple[Operation, Operation]]:
    """Tools: made, and called with arguments that are right."""

    def function(query: str, limit: int, tags: list[str]) -> str:
        """Search."""
        return query

    def bare() -> None:
        pass

    def nested(person: Person) -> str:
        return person.name

    arguments = {"query": "q", "limit": 3, "tags": ["a"]}
    person = {"person": {"name": "Ada", "age": 36, "addresses": [{"street": "s", "city": "c"}]}}
    mine, theirs = ours.Tool(function), dspy.Tool(function)
    assert mine.args == theirs.args
    assert mine(**arguments) == theirs(**arguments)
    my_bare, their_bare = ours.Tool(bare), dspy.Tool(bare)
    my_nested, their_nested = ours.Tool(nested), dspy.Tool(nested)
    assert my_nested(**person) == their_nested(**person)
    return {
        "Tool made, 3 arguments": (lambda: ours.Tool(function), lambda: dspy.Tool(function)),
        "Tool called, no arguments": (my_bare, their_bare),
        "Tool called, 3 arguments": (lambda: mine(**arguments), lambda: theirs(**arguments)),
        "Tool called, a nested model": (lambda: my_nested(**person), lambda: their_nested(**person)),
    }


def adapter_rows(
    name: str,
    mine: Any,
    theirs: Any,
    answer: str,
    demos: list[dict[str, Any]] = DEMOS,
    inputs: dict[str, Any] = INPUTS,
    what: str = "",
) -> dict[str, tuple[Operation, Operation]]:
    my_adapter = getattr(adapters, name)()
    their_adapter = BAMLAdapter() if name == "BAMLAdapter" else getattr(dspy, name)()
    assert my_adapter.format(mine, demos, inputs) == their_adapter.format(theirs, demos, inputs)
    assert my_adapter.parse(mine, answer) == their_adapter.parse(theirs, answer)
    return {
        f"{name}.format{what}, no demos": (
            lambda: my_adapter.format(mine, [], inputs),
            lambda: their_adapter.format(theirs, [], inputs),
        ),
        f"{name}.format{what}, 8 demos": (
            lambda: my_adapter.format(mine, demos, inputs),
            lambda: their_adapter.format(theirs, demos, inputs),
        ),
        f"{name}.format{what}, new signature": (
            lambda: my_adapter.format(mine.with_instructions("x"), [], inputs),
            lambda: their_adapter.format(theirs.with_instructions("x"), [], inputs),
        ),
        f"{name}.parse{what}": (
            lambda: my_adapter.parse(mine, answer),
            lambda: their_adapter.parse(theirs, answer),
        ),
    }


def turn(operation: Operation, seconds: float) -> float:
    """Microseconds of CPU per operation, over about `seconds`."""
    count, began = 0, time.process_time_ns()
    until = began + int(seconds * 1e9)
    while (now := time.process_time_ns()) < until:
        for _ in range(10):
            operation()
        count += 10
    return (now - began) / count / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the turns")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    options = parser.parse_args()
    turns, seconds = (5, 0.01) if options.quick else (25, 0.02)
    results: dict[str, dict[str, float]] = {}
    print(f"{'us of CPU per operation (median)':38}{'dspex':>10}{'dspy':>10}{'ratio':>9}")
    for name, (my_operation, their_operation) in operations().items():
        pairs = [(turn(my_operation, seconds), turn(their_operation, seconds)) for _ in range(turns)]
        mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        results[name] = {"dspex_us": round(mine, 2), "dspy_us": round(other, 2), "ratio": round(other / mine, 1)}
        print(f"{name:38}{mine:10.1f}{other:10.1f}{other / mine:8.1f}x")
    if options.json:
        options.json.write_text(json.dumps({"dspy": dspy.__version__, "rows": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
