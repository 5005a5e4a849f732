"""What was asked and answered, kept for inspection: bounded, and off when you say so.

Each LM keeps its calls in `lm.history`, every module that was calling at the time keeps them in `module.history`, and
the process keeps the last 10,000 of all in `GLOBAL_HISTORY`. An entry has dspy's keys: prompt, messages, kwargs,
response, outputs, usage, cost, timestamp, uuid, model, response_model, model_type. Settings decide: `max_history_size`
entries are kept per owner (default 10,000, oldest dropped first; 0 keeps none), `disable_history=True` keeps none
anywhere. Entries hold prompts and answers: a long-lived service should turn history off (a `ProgramActor` does unless
told otherwise). They never hold a credential.

`inspect_history(n)` prints the last entries, in the layout of dspy 3.4.
"""

from __future__ import annotations

import datetime
import json
import os
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TextIO, cast

from ..settings import settings

__all__ = [
    "GLOBAL_HISTORY",
    "MAX_HISTORY_SIZE",
    "HistoryEntry",
    "history_entry",
    "inspect_history",
    "print_history",
    "record",
]

HistoryEntry = dict[str, Any]  # Any: prompts, messages and provider responses have no common type

MAX_HISTORY_SIZE = 10_000
GLOBAL_HISTORY: list[HistoryEntry] = []
"""The last calls of all LMs of this process, newest last; at most `MAX_HISTORY_SIZE`."""

_GREEN, _RED, _BLUE, _END = "\x1b[32m", "\x1b[31m", "\x1b[34m", "\x1b[0m"


class _Keeper(Protocol):
    history: list[HistoryEntry]


class _Asked(_Keeper, Protocol):
    """The LM, as far as its history is concerned."""

    model: str
    model_type: str


def history_entry(
    lm: _Asked,
    *,
    prompt: object,
    messages: Sequence[Mapping[str, object]] | None,
    kwargs: Mapping[str, object],
    response: object,
    outputs: Sequence[object],
    usage: Mapping[str, object],
    response_model: str | None,
    cost: float | None = None,
    cost_details: Mapping[str, object] | None = None,
) -> HistoryEntry:
    """One entry. `kwargs` are those of the call itself; anything named `api_*` or headers is left out."""
    entry: HistoryEntry = {
        "prompt": prompt,
        "messages": messages,
        "kwargs": {
            key: value for key, value in kwargs.items() if not key.startswith("api_") and not key.endswith("headers")
        },
        "response": response,
        "outputs": outputs,
        "usage": dict(usage),
        "cost": cost,
        "timestamp": datetime.datetime.now().isoformat(),
        "uuid": _uuid4(),
        "model": lm.model,
        "response_model": response_model,
        "model_type": lm.model_type,
    }
    if cost_details:
        entry["cost_details"] = dict(cost_details)
    return entry


_dice = random.Random()
os.register_at_fork(after_in_child=_dice.seed)  # or parent and child would give out the same ids


def _uuid4() -> str:
    """A random UUID. `uuid.uuid4` asks the operating system each time, which costs more than the rest of an entry."""
    digits = f"{_dice.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def record(lm: _Asked, entry: HistoryEntry) -> None:
    """Append to the global history, the LM's and that of every module now calling."""
    if settings.get("disable_history"):
        return
    _append(GLOBAL_HISTORY, entry, MAX_HISTORY_SIZE)
    limit: int = settings.get("max_history_size")
    if limit <= 0:
        return
    callers = cast("Sequence[_Keeper]", settings.get("caller_modules") or ())
    for keeper in (lm, *callers):
        _append(keeper.history, entry, limit)


def _append(kept: list[HistoryEntry], entry: HistoryEntry, limit: int) -> None:
    if len(kept) >= limit:
        # Moving 10,000 entries by one place at every call is slower than the call: drop a hundredth at once.
        del kept[: len(kept) - limit + max(1, limit // 100)]
    kept.append(entry)


def inspect_history(n: int = 1, file: TextIO | None = None) -> None:
    """Print the last `n` calls of all LMs of this process. With `file`, there, and without colours."""
    print_history(GLOBAL_HISTORY, n, file=file)


def print_history(history: Sequence[HistoryEntry], n: int = 1, file: TextIO | None = None) -> None:
    """Print the last `n` entries: their messages, and the first of their outputs."""
    printed = _Printer(file)
    for entry in history[-n:]:
        printed.entry(entry)
    printed.line("\n\n\n")


class _Printer:
    def __init__(self, file: TextIO | None) -> None:
        self.file = file if file is not None else sys.stdout
        self.colours = file is None

    def line(self, text: object = "") -> None:
        print(text, file=self.file)

    def coloured(self, colour: str, text: object, end: str = "\n") -> None:
        # The colour's own line end comes inside, as dspy prints it: one line more than the text has.
        self.line(f"{colour}{text}{_END}{end}" if self.colours else f"{text}{end}")

    def entry(self, entry: HistoryEntry) -> None:
        self.line("\n\n\n")
        self.coloured(_BLUE, f"[{entry.get('timestamp', 'Unknown time')}]")
        messages = entry["messages"] or [{"role": "user", "content": entry["prompt"]}]
        for message in messages:
            self.coloured(_RED, f"{message['role'].capitalize()} message:")
            self.content(message.get("content"))
            self.tool_calls(message.get("tool_calls"))
            self.line("\n")
        outputs = entry["outputs"]
        first = outputs[0] if outputs else ""
        if isinstance(first, dict):
            answer = cast("dict[str, Any]", first)
            if answer.get("text"):
                self.answer(answer["text"])
            self.tool_calls(answer.get("tool_calls"))
        else:
            self.answer(first)
        if len(outputs) > 1:
            self.coloured(_RED, f" \t (and {len(outputs) - 1} other completions)", end="")

    def answer(self, text: object) -> None:
        self.coloured(_RED, "Response:")
        self.coloured(_GREEN, str(text).strip())

    def content(self, content: object) -> None:
        if isinstance(content, str):
            self.line(content.strip())
            return
        for part in cast("Iterable[dict[str, Any]]", content if isinstance(content, list) else ()):
            kind = part.get("type")
            if kind == "text":
                self.line(part["text"].strip())
            elif kind == "image_url":
                self.coloured(_BLUE, _image(part["image_url"].get("url", "")))
            elif kind == "input_audio":
                audio = part["input_audio"]
                self.coloured(
                    _BLUE, f"<audio format='{audio['format']}' base64-encoded, length={len(audio['data'])}>"
                )
            elif kind in ("file", "input_file"):
                file = part.get("file", part.get("input_file", {}))
                name, file_id, data = (file.get(key, "") for key in ("filename", "file_id", "file_data"))
                self.coloured(_BLUE, f"<file: name:{name}, id:{file_id}, data_length:{len(data or '')}>")

    def tool_calls(self, calls: Any) -> None:
        if not calls:
            return
        self.coloured(_RED, "Tool calls:")
        for call in calls:
            function: Any = call.get("function") or {}
            arguments: Any = function.get("arguments")
            if arguments is None:
                arguments = call.get("args", call.get("arguments", {}))
            if isinstance(arguments, str):
                with suppress(ValueError):
                    arguments = json.loads(arguments)
            shown = json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict | list) else str(arguments)
            self.coloured(_GREEN, f"{function.get('name') or call.get('name', '<unknown>')}: {shown}")


def _image(url: str) -> str:
    if "base64" not in url:
        return f"<image_url: {url}>"
    head, _, data = url.partition("base64,")
    return f"<{head}base64,<IMAGE BASE 64 ENCODED({len(data)})>"
