"""A model that follows a script and notes what it was asked, as an LM of either engine; and a comparison of both."""

import json
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import dspex.engine as engine

Answer = dict[str, Any] | str | Exception

# From the tool's name to the line of the error that was raised last: as text, and inside JSON.
_TRACEBACKS = (
    re.compile(r"(Execution error in \w+: )\n(?:(?!\[\[ ##).)*^(?=[\w.]+: )", flags=re.DOTALL | re.MULTILINE),
    re.compile(r"(Execution error in \w+: )\\n(?:(?!\", \").)*\\n(?=[\w.]+: )"),
)


def section(answer: Answer) -> str:
    """An answer in the chat adapter's layout, JSON where a value is no text."""
    if isinstance(answer, str):
        return answer
    assert isinstance(answer, dict)
    parts = [
        f"[[ ## {name} ## ]]\n{value if isinstance(value, str) else json.dumps(value)}"
        for name, value in answer.items()
    ]
    return "\n\n".join([*parts, "[[ ## completed ## ]]\n"])


@dataclass
class Script:
    """The answers to come, and the requests so far with the options that came with them."""

    answers: list[Answer]
    requests: list[Any] = field(default_factory=list)

    def answer(self, messages: Any, options: dict[str, Any]) -> SimpleNamespace:
        wanted = {key: value for key, value in options.items() if key in ("temperature", "rollout_id", "tools", "n")}
        self.requests.append((json.loads(json.dumps(messages)), wanted))
        if not self.answers:
            raise AssertionError("the script is at its end")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        message = SimpleNamespace(content=section(answer), tool_calls=None, reasoning_content=None)
        return SimpleNamespace(choices=[SimpleNamespace(message=message, logprobs=None)], usage={}, model="scripted")


def scripted_lm(library: ModuleType, script: Script) -> Any:
    class ScriptedLM(library.BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            if messages is None:
                messages = [{"role": "user", "content": prompt}]
            return script.answer(messages, {**self.kwargs, **kwargs})

    return ScriptedLM("scripted", cache=False)


@dataclass
class Outcome:
    """What a program did: its requests, its result or error, the steps of its trace."""

    requests: list[Any]
    result: Any
    trace: list[Any]


def run(
    library: ModuleType, build: Callable[[Any], Any], call: Callable[[Any], Any], answers: Sequence[Answer]
) -> Outcome:
    script = Script([_of(library, answer) for answer in answers])
    result: Any
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        program = build(library)
        with library.context(lm=scripted_lm(library, script), trace=[]):
            try:
                result = plain(call(program))
            except Exception as error:
                result = (type(error).__name__, without_paths(str(error)))
            trace = [(plain(inputs), plain(outputs)) for _, inputs, outputs in library.settings.trace]
    return Outcome(without_paths(script.requests), result, without_paths(trace))


def both_do_the_same(
    dspy: ModuleType, build: Callable[[Any], Any], call: Callable[[Any], Any], answers: Sequence[Answer]
) -> Outcome:
    """Runs `build(library)` and `call` on it in dspy and in the engine, and returns what both did.

    Tracebacks in observations name other files and lines here than there, and are compared without them.
    """
    theirs = run(dspy, build, call, answers)
    ours = run(engine, build, call, answers)
    assert ours.requests == theirs.requests
    assert ours.result == theirs.result
    assert ours.trace == theirs.trace
    return ours


def plain(value: Any) -> Any:
    if hasattr(value, "toDict"):
        value = value.toDict()
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return without_paths(value)


def without_paths(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, str):
        for traceback in _TRACEBACKS:
            value = traceback.sub(r"\1... ", value)
        return value
    return value


def _of(library: ModuleType, answer: Answer) -> Answer:
    """An error is named by its class in `engine`, and raised as the library's own class of that name."""
    if isinstance(answer, engine.LMError):
        return getattr(library, type(answer).__name__)(message=answer.message)
    return answer
