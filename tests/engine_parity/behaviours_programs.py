"""Modules of the user's own, their saved state, and the settings they run under."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import io
import json
import pickle
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
from behaviours_predict import dummy


def _program(ns: Any) -> Any:
    class Inner(ns.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = ns.Predict("x -> y")

        def forward(self, x: Any) -> Any:
            return self.only(x=x)

    class Program(ns.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = ns.Predict("q -> answer")
            self.think = ns.ChainOfThought("q -> answer")
            self.steps = [ns.Predict("a -> b"), Inner(), 3]
            self.by_name = {"n": ns.Predict("c -> d"), 4: Inner()}
            self.pair = (ns.Predict("e -> f"),)
            self.again = self.first
            self.text = "text"
            self.nested = [[ns.Predict("g -> h")]]

        def forward(self, q: Any) -> Any:
            return self.first(q=q)

    return Program()


def _one(ns: Any, body: Callable[..., Any], name: str = "forward") -> Any:
    return type("One", (ns.Module,), {name: body})()


def _bare(ns: Any) -> Any:
    class Bare(ns.Module):
        def __init__(self) -> None:
            self.inner = ns.Predict("q -> answer")

        def forward(self, **kwargs: Any) -> Any:
            return self.inner(**kwargs)

    made = Bare()
    return made.callbacks, made.history, made._compiled, [n for n, _ in made.named_predictors()]


def _frozen(ns: Any) -> Any:
    program = _program(ns)
    program.think._compiled = True
    program.steps[1]._compiled = True
    return (
        [n for n, _ in program.named_parameters()],
        [n for n, _ in program.named_sub_modules(skip_compiled=True)],
    )


def _mapped(ns: Any) -> Any:
    program = _program(ns)
    back = program.map_named_predictors(lambda p: ns.Predict(p.signature.with_instructions("New.")))
    return back is program, [(n, p.signature.instructions) for n, p in program.named_predictors()]


def _saved(ns: Any, change: Callable[[dict[str, Any]], None] | None = None, into: Any = None) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.json"
        program = _program(ns)
        program.first.demos = [ns.Example(q="1", answer="2").with_inputs("q")]
        program.save(path)
        state = json.loads(path.read_text())
        if change is not None:
            change(state)
            path.write_text(json.dumps(state))
        target = _program(ns) if into is None else into(ns)
        try:
            result = target.load(path)
        except Exception as error:
            if isinstance(error.args[0] if error.args else None, str):
                error.args = (str(error).replace(folder, "FOLDER"),)
            raise
        state["metadata"] = sorted(state["metadata"]["dependency_versions"])
        return result, state, [p.demos for _, p in target.named_predictors()]


def _path(ns: Any, name: str, action: str, **options: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return getattr(ns.Predict("q -> answer"), action)(str(Path(folder) / name), **options)


def _unsaveable(ns: Any) -> Any:
    predict = ns.Predict("q -> answer")
    predict.demos = [{"q": object()}]
    with tempfile.TemporaryDirectory() as folder:
        predict.save(Path(folder) / "p.json")


def _uncopyable(ns: Any) -> Any:
    program = _program(ns)
    program.lock = threading.Lock()
    program.first.demos = [{"q": 1}]
    made = program.deepcopy()
    return made.lock is program.lock, made.first.demos, made.first is program.first, type(made).__name__


def _usage(ns: Any, run: Callable[[Any], Any]) -> Any:
    dummy(ns)
    with ns.context(track_usage=True):
        return run(ns)


def _counted(ns: Any) -> Any:
    lm = dummy(ns)
    with ns.track_usage() as usage:
        ns.Predict("q -> answer")(q="x")
        ns.Predict("q -> answer")(q="y")
    return usage.get_total_tokens(), len(lm.history)


def _direct(ns: Any) -> Any:
    dummy(ns)
    return _program(ns).forward("x")


def _super(ns: Any) -> Any:
    class Base(ns.Module):
        def forward(self, x: Any) -> Any:
            return x + 1

    class Child(Base):
        def forward(self, x: Any) -> Any:
            return super().forward(x) * 2

    return Child()(3)


def _async_program(ns: Any) -> Any:
    class Program(ns.Module):
        async def aforward(self, x: Any) -> Any:
            return x, len(ns.settings.caller_modules)

    return Program().acall(3)


def _pickled(ns: Any) -> Any:
    made = pickle.loads(cloudpickle.dumps(_program(ns)))
    return [n for n, _ in made.named_parameters()], made.history, made.callbacks, made.text


def _inspected(ns: Any) -> Any:
    dummy(ns, {"answer": "a\nb"})
    predict = ns.Predict("q -> answer")
    predict(q="x")
    predict.history[-1]["timestamp"] = "T"
    to_file, to_screen = io.StringIO(), io.StringIO()
    predict.inspect_history(n=1, file=to_file)
    with contextlib.redirect_stdout(to_screen):
        predict.inspect_history()
    return to_file.getvalue(), to_screen.getvalue()


def _batched(ns: Any, **options: Any) -> Any:
    dummy(ns)
    rows = [ns.Example(q=str(i)).with_inputs("q") for i in range(3)]
    return ns.Predict("q -> answer").batch(rows, disable_progress_bar=True, **options)


def _settings(ns: Any) -> Any:
    with ns.context(lm=1, mine=2):
        inside = (ns.settings.lm, ns.settings.mine, ns.settings["mine"], "mine" in ns.settings)
        with ns.context(lm=3):
            inner = (ns.settings.lm, ns.settings.mine)
    return inside, inner, "mine" in ns.settings, ns.settings.get("mine"), ns.settings.get("mine", 5)


def _context_after_an_error(ns: Any) -> Any:
    with contextlib.suppress(ValueError), ns.context(branch_idx=7):
        raise ValueError("out")
    return ns.settings.branch_idx


def _in_a_thread(ns: Any) -> Any:
    seen: list[Any] = []
    ns.configure(branch_idx=3)
    thread = threading.Thread(target=lambda: seen.append(ns.settings.branch_idx))
    thread.start()
    thread.join()
    ns.configure(branch_idx=0)
    return seen


async def _in_tasks(ns: Any) -> Any:
    async def read(value: int) -> Any:
        with ns.context(branch_idx=value):
            await asyncio.sleep(0)
            return ns.settings.branch_idx

    return await asyncio.gather(*(read(i) for i in range(5)))


def _set(ns: Any, name: str, value: Any) -> Any:
    setattr(ns.settings, name, value)
    return getattr(ns.settings, name)


_KEYS = [
    "branch_idx", "async_max_workers", "send_stream", "disable_history", "track_usage", "usage_tracker",
    "caller_predict", "caller_modules", "stream_listeners", "provide_traceback", "num_threads", "max_errors",
    "allow_tool_async_sync_conversion", "max_history_size", "max_trace_size", "warn_on_type_mismatch",
    "interpreter_factory", "rm", "callbacks",
]

BEHAVIOURS: dict[str, Callable[[Any], Any]] = {
    "named_parameters": lambda ns: [(n, p.signature.signature) for n, p in _program(ns).named_parameters()],
    "named_predictors": lambda ns: [n for n, _ in _program(ns).named_predictors()],
    "predictors": lambda ns: [p.signature.signature for p in _program(ns).predictors()],
    "parameters": lambda ns: len(_program(ns).parameters()),
    "named_sub_modules": lambda ns: [(n, type(m).__name__) for n, m in _program(ns).named_sub_modules()],
    "named_sub_modules of a type": lambda ns: [n for n, _ in _program(ns).named_sub_modules(ns.ChainOfThought)],
    "frozen modules": _frozen,
    "map_named_predictors": _mapped,
    "set_lm": lambda ns: (lambda p: (p.set_lm(5), p.get_lm(), [q.lm for q in p.predictors()]))(_program(ns)),
    "get_lm of several": lambda ns: (lambda p: (p.set_lm(5), setattr(p.first, "lm", 6), p.get_lm()))(_program(ns)),
    "get_lm of nothing": lambda ns: _one(ns, lambda self: 1).get_lm(),
    "repr": lambda ns: repr(_program(ns)),
    "repr of nothing": lambda ns: repr(_one(ns, lambda self: 1)),
    "no super().__init__": _bare,
    "a call": lambda ns: _one(ns, lambda self, a, b=2: (a, b))(1, b=3),
    "a call with wrong arguments": lambda ns: _one(ns, lambda self, a: a)(1, 2),
    "a module without forward": lambda ns: type("Empty", (ns.Module,), {})()(),
    "awaiting a module without anything": lambda ns: type("Empty", (ns.Module,), {})().acall(),
    "an async program": _async_program,
    "an error inside": lambda ns: _one(ns, lambda self: 1 / 0)(),
    "caller_modules": lambda ns: (
        _one(ns, lambda self: [type(m).__name__ for m in ns.settings.caller_modules])(),
        ns.settings.caller_modules,
    ),
    "forward by itself": _direct,
    "forward of a parent": _super,
    "forward set on the object": lambda ns: (
        lambda m: (setattr(m, "forward", lambda: "mine"), m())[1]
    )(_one(ns, lambda self: "body")),
    "history": lambda ns: (dummy(ns), (lambda p: (p(q="x"), len(p.history), len(p.first.history)))(_program(ns)))[1],
    "deepcopy": lambda ns: (lambda p: copy.deepcopy(p).first is p.first)(_program(ns)),
    "deepcopy keeps sharing": lambda ns: (lambda m: m.first is m.again)(_program(ns).deepcopy()),
    "deepcopy of what cannot be copied": _uncopyable,
    "reset_copy": lambda ns: (
        lambda p: (setattr(p.first, "demos", [1]), p.reset_copy().first.demos, p.first.demos)
    )(_program(ns)),
    "cloudpickle": _pickled,
    "dump_state": lambda ns: _program(ns).dump_state(),
    "dump_state of nothing": lambda ns: _one(ns, lambda self: 1).dump_state(),
    "load_state of nothing": lambda ns: _program(ns).load_state({}),
    "load_state with more": lambda ns: (
        lambda p: p.load_state({**p.dump_state(), "other": 1})
    )(_program(ns)),
    "load_state of a broken entry": lambda ns: (
        lambda p: p.load_state({**p.dump_state(), "first": {"signature": 3}})
    )(_program(ns)),
    "save and load": _saved,
    "load of another version": lambda ns: _saved(
        ns, lambda s: s["metadata"]["dependency_versions"].update(dspy="2.6.0", python="3.9")
    ),
    "load without metadata": lambda ns: _saved(ns, lambda s: s.pop("metadata")),
    "load without an entry": lambda ns: _saved(ns, lambda s: s.pop("think.predict")),
    "load into another program": lambda ns: _saved(ns, into=lambda ns: ns.Predict("q -> answer")),
    "load with more entries": lambda ns: _saved(ns, lambda s: s.update(more=s["first"])),
    "save to another suffix": lambda ns: _path(ns, "p.txt", "save"),
    "save to no suffix": lambda ns: _path(ns, "p", "save"),
    "save of a program to a file": lambda ns: _path(ns, "p.json", "save", save_program=True),
    "load of another suffix": lambda ns: _path(ns, "p.txt", "load"),
    "load of a pickle": lambda ns: _path(ns, "p.pkl", "load"),
    "load of a missing file": lambda ns: _path(ns, "p.json", "load"),
    "save what JSON cannot hold": _unsaveable,
    "dspy.load": lambda ns: ns.load("nowhere"),
    "usage of a prediction": lambda ns: _usage(ns, lambda ns: ns.Predict("q -> answer")(q="x").get_lm_usage()),
    "usage of no prediction": lambda ns: _usage(ns, lambda ns: _one(ns, lambda self: 3)()),
    "usage of a pair": lambda ns: _usage(ns, lambda ns: _one(ns, lambda self: (ns.Prediction(a=1), 2))()[0].get_lm_usage()),
    "usage not tracked": lambda ns: (dummy(ns), ns.Predict("q -> answer")(q="x").get_lm_usage())[1],
    "track_usage": _counted,
    "inspect_history": _inspected,
    "batch": _batched,
    "batch with failures": lambda ns: _batched(ns, return_failed_examples=True),
    "batch without inputs": lambda ns: ns.Predict("q -> answer").batch([ns.Example(q="1")]),
    "settings in a block": _settings,
    "settings after an error": _context_after_an_error,
    "settings in a thread": _in_a_thread,
    "settings in tasks": _in_tasks,
    "a setting that is not there": lambda ns: ns.settings.nothing,
    "a setting by key that is not there": lambda ns: ns.settings["nothing"],
    "a setting by attribute": lambda ns: _set(ns, "branch_idx", 0),
    "settings keys": lambda ns: [(k, ns.settings[k]) for k in _KEYS],
    "settings as a dict": lambda ns: isinstance(ns.settings.config, dict),
    "a copy by attribute": lambda ns: ns.settings.copy().branch_idx,
    "configure by position": lambda ns: ns.configure(3),
    "context by position": lambda ns: ns.context(3),
    "configure gives nothing": lambda ns: ns.configure(branch_idx=0),
    "load_settings without leave": lambda ns: ns.load_settings("nowhere"),
    "one settings object": lambda ns: type(ns.settings).__name__,
}
