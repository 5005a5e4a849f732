"""Optimizers at work in either engine, on a model that answers the same to the same request, and all that can be seen of it.

`search(ns, make, build)` runs one in `dspy` or `dspex.engine` and gives a `Search`: the requests in order with their
options, the program with what the optimizer left on it, the log records and the error.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dspex.engine as engine

_ASKED_FOR = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
_QUESTION = re.compile(r"q(\d+)")

# What dspy writes to its loggers of predictors and we do not, since we pass no inputs that a signature lacks; and what it
# prints and we log.
_NOT_COMPARED = re.compile(r"Input contains fields not in signature|Bootstrapp|Going to sample|Will attempt|Best (score|prog)")


@dataclass
class Search:
    """What one optimizer did."""

    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Model, messages and options of each request, in order."""
    program: Any = None
    error: Exception | None = None
    logged: list[tuple[str, str]] = field(default_factory=list)

    @property
    def left(self) -> dict[str, Any] | None:
        """The program's state and what the optimizer left on it, with programs as their states."""
        program = self.program
        if program is None:
            return None
        names = ("candidate_programs", "mb_candidate_programs", "trial_logs", "score", "total_calls")
        kept: dict[str, Any] = {name: _plain(getattr(program, name, None)) for name in names}
        for name in ("results_best", "results_latest"):
            kept[name] = list(getattr(program, name, {}).values())
        return {"state": program.dump_state(), "compiled": program._compiled, **kept}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.dump_state() if hasattr(value, "dump_state") else value


class Completion(dict[str, Any]):
    """A dict that can be read by attribute, all the way down: what both engines take for a completion."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        value = self[name]
        if isinstance(value, list):
            return [Completion(each) if isinstance(each, dict) else each for each in value]
        return Completion(value) if isinstance(value, dict) else value


def model(ns: Any, asked: list[tuple[str, str, str]], name: str = "task", fails: float = 0.0) -> Any:
    """An LM that writes into every field a text which depends on the request alone; answers to `qN` are right (N modulo 4)
    two times out of three. `fails`: this share of the requests raise, the same in every run.
    """

    class Scripted(ns.BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            options = json.dumps({**self.kwargs, **kwargs}, sort_keys=True)
            asked.append((name, json.dumps(messages), options))
            digest = hashlib.sha256(f"{messages}{options}".encode()).hexdigest()
            if int(digest[:4], 16) < fails * 0xFFFF:
                raise RuntimeError("no answer today")
            count = {**self.kwargs, **kwargs}.get("n") or 1
            choices = [
                {"message": {"role": "assistant", "content": _answer(messages, f"{digest}{index}")}, "finish_reason": "stop"}
                for index in range(count)
            ]
            return Completion({"model": name, "choices": choices, "usage": {}})

    return Scripted(name, cache=False)


def _answer(messages: Any, seed: str) -> str:
    last = str(messages[-1]["content"])
    parts: list[str] = []
    for name in _ASKED_FOR.findall(last.rsplit("Respond with", 1)[1]):
        digest = hashlib.sha256(f"{name}{seed}".encode()).hexdigest()
        number = _QUESTION.search(last)
        if name == "completed":
            parts.append("[[ ## completed ## ]]")
            continue
        text = f"{name} {digest[:6]}"
        if name == "answer" and number:
            text = str(int(number[1]) % 4) if int(digest[:2], 16) < 170 else "wrong"
        elif name == "observations" and digest[0] in "01234":
            text = "COMPLETE"
        elif name == "proposed_instruction":
            text = f'Proposed Instruction: "do {digest[:6]}"'
        parts.append(f"[[ ## {name} ## ]]\n{text}")
    return "\n\n".join(parts)


def examples(ns: Any, count: int = 12, first: int = 0) -> list[Any]:
    return [
        ns.Example(question=f"q{n}", answer=str(n % 4)).with_inputs("question") for n in range(first, first + count)
    ]


def right(example: Any, prediction: Any, trace: object = None) -> bool:
    return example.answer == prediction.answer


def one_step(ns: Any) -> Any:
    return ns.ChainOfThought("question -> answer")


def two_steps(ns: Any) -> Any:
    class Program(ns.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = ns.Predict("question -> answer")
            self.second = ns.ChainOfThought("question, hint -> answer")

        def forward(self, question: str) -> Any:
            return self.second(question=question, hint=self.first(question=question).answer)

    return Program()


def with_classes(ns: Any) -> Any:
    """Signatures as classes, predictors in lists and dicts."""

    class QA(ns.Signature):
        """Answer in one word."""

        question: str = ns.InputField()
        answer: str = ns.OutputField(desc="one word")

    class Program(ns.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = ns.Predict(QA)
            self.steps = [ns.ChainOfThought(QA), ns.Predict("question -> answer")]
            self.more = {"first": ns.Predict("question -> hint")}

        def forward(self, question: str) -> Any:
            self.more["first"](question=question)
            for step in self.steps:
                step(question=question)
            return self.last(question=question)

    return Program()


def search(
    ns: Any,
    make: Callable[[Any, Any], Any],
    build: Callable[[Any], Any],
    *,
    count: int = 12,
    validated: int | None = None,
    fails: float = 0.0,
    max_errors: int = 1000,
    **options: Any,
) -> Search:
    """Run `make(ns, prompt_model).compile(build(ns), trainset=...)`, with examples one at a time."""
    found = Search()
    if validated is not None:
        options["valset"] = examples(ns, validated, first=count)
    settings = {
        "lm": model(ns, found.asked, fails=fails),
        "adapter": ns.ChatAdapter(),
        "max_errors": max_errors,
        "num_threads": 1,
    }
    with _records(found.logged, "dspex" if ns is engine else "dspy"), ns.context(**settings):
        try:
            optimizer = make(ns, model(ns, found.asked, "prompt", fails))
            found.program = optimizer.compile(build(ns), trainset=examples(ns, count), **options)
        except Exception as error:
            found.error = error
    return found


@contextmanager
def _records(into: list[tuple[str, str]], name: str) -> Iterator[None]:
    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not _NOT_COMPARED.search(record.getMessage()):
                into.append((record.levelname, record.getMessage()))

    logger = logging.getLogger(name)
    before = (logger.level, logger.propagate, logger.handlers[:])
    logger.level, logger.propagate, logger.handlers = logging.INFO, False, [Keep()]
    logger.manager._clear_cache()
    try:
        yield
    finally:
        logger.level, logger.propagate, logger.handlers = before
        logger.manager._clear_cache()


def assert_same(ours: Search, theirs: Search) -> None:
    """The same requests in the same order, the same result, the same words."""
    for number, (mine, other) in enumerate(zip(ours.asked, theirs.asked, strict=False)):
        assert mine == other, f"request {number}"
    assert len(ours.asked) == len(theirs.asked)
    assert (type(ours.error), str(ours.error)) == (type(theirs.error), str(theirs.error))
    assert ours.left == theirs.left
    assert ours.logged == theirs.logged
