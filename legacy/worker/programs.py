"""The dspy side of a worker: loads the declared programs, keeps language models, runs one request.

dspy is imported by `Programs.__init__` and nowhere else, after the process has been made safe (see `main.py`).
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import json
import time
import traceback
from collections.abc import Mapping
from typing import Any, cast

from . import wire

MODULES = ("Predict", "ChainOfThought")
"""What a signature program may be made of. A name from the host is looked up here, never in dspy at large."""

_TRACEBACK_LIMIT = 20_000
_LM_LIMIT = 32


class Failure(Exception):
    """A request that fails without the program having raised; `kind` tells the host which error it is."""

    def __init__(self, kind: str, message: str, **facts: object) -> None:
        super().__init__(message)
        self.kind = kind
        self.facts = facts


class Programs:
    """Everything a worker knows: the dspy module, the programs by name, the language models by settings."""

    def __init__(self, specs: Mapping[str, Any], cache_dir: str | None, cache_bytes: int) -> None:
        # importlib: no type checker is asked what dspy is, since each worker environment has its own
        self.dspy: Any = importlib.import_module("dspy")
        self._specs = specs
        self._loaded: dict[str, Any] = {}
        self._models: dict[str, Any] = {}
        self.dspy.configure_cache(
            enable_disk_cache=cache_dir is not None,
            enable_memory_cache=True,
            **({} if cache_dir is None else {"disk_cache_dir": cache_dir, "disk_size_limit_bytes": cache_bytes}),
        )

    @property
    def version(self) -> str:
        return str(self.dspy.__version__)

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Runs one request. Returns the fields of its reply in wire form: either a value or an error."""
        try:
            program = self._program(request["program"])
            settings = request.get("lm")
            overrides: dict[str, Any] = {"track_usage": True, "trace": []}
            if settings is not None:
                overrides["lm"] = self._model(settings)
            began = time.perf_counter()
            with self.dspy.context(**overrides):
                prediction = program(**request["inputs"])
            took = time.perf_counter() - began
            return {
                "ok": True,
                "value": self._fields(prediction),
                "usage": wire.to_wire(self._usage(prediction), "usage", self._simpler),
                "timing": {"run_s": took},
            }
        except Failure as failure:
            return {"ok": False, "error": {"kind": failure.kind, "message": str(failure), **failure.facts}}
        except wire.Unencodable as error:
            return {"ok": False, "error": {"kind": "unserializable", "message": str(error)}}
        except BaseException as error:  # SystemExit of a user's program too: it ends the request, not the worker
            return {"ok": False, "error": self._described(error)}

    def _program(self, name: str) -> Any:
        if name not in self._loaded:
            if name not in self._specs:
                raise Failure("unknown_program", f"no program {name!r} was declared to this worker")
            self._loaded[name] = self._load(self._specs[name])
        return self._loaded[name]

    def _load(self, spec: Mapping[str, Any]) -> Any:
        if spec["kind"] == "signature":
            if spec["module"] not in MODULES:
                raise Failure("config", f"module {spec['module']!r} is not one of {', '.join(MODULES)}")
            program = getattr(self.dspy, spec["module"])(
                self.dspy.Signature(spec["signature"], spec["instructions"])
                if spec["instructions"] is not None
                else spec["signature"]
            )
        else:
            module_name, _, attribute = spec["path"].partition(":")
            found = getattr(importlib.import_module(module_name), attribute)
            program = found if isinstance(found, self.dspy.Module) else found()
            if not isinstance(program, self.dspy.Module):
                raise Failure("config", f"{spec['path']} gave a {type(program).__name__}, and a dspy.Module is needed")
        if spec.get("state") is not None:
            program.load_state(spec["state"])
        return program

    def _model(self, settings: Mapping[str, Any]) -> Any:
        key = json.dumps(wire.to_wire(settings), sort_keys=True)
        if key not in self._models:
            if len(self._models) >= _LM_LIMIT:  # per-user keys must not make a worker grow without end
                self._models.pop(next(iter(self._models)))
            arguments = {name: settings[name] for name in ("api_base", "api_key") if settings[name] is not None}
            arguments.update(settings["options"])
            if "engine" in inspect.signature(self.dspy.LM.__init__).parameters:
                # dspy 3.4 on: the engine of its own. "auto" may import litellm in mid-request: 8 s and 170 MB.
                arguments.setdefault("engine", "lm15")
            self._models[key] = self.dspy.LM(settings["model"], cache=settings["cache"], **arguments)
        return self._models[key]

    def _fields(self, prediction: Any) -> dict[str, Any]:
        if isinstance(prediction, self.dspy.Example):  # Prediction is one
            fields = dict(prediction.items(include_dspy=True))
        elif isinstance(prediction, dict) and all(isinstance(name, str) for name in cast("dict[Any, Any]", prediction)):
            fields = cast("dict[Any, Any]", prediction)
        else:
            returned = type(cast("object", prediction)).__name__
            raise Failure(
                "result",
                f"the program returned a {returned}; "
                "the pool needs a dspy.Prediction, a dspy.Example or a dict with names for keys",
            )
        return {name: wire.to_wire(value, f"field {name!r}", self._simpler) for name, value in fields.items()}

    def _usage(self, prediction: Any) -> dict[str, Any]:
        get_usage = getattr(prediction, "get_lm_usage", None)
        usage: Any = get_usage() if callable(get_usage) else None
        return usage or {}

    def _simpler(self, value: Any, path: str) -> Any:
        """One step from a typed value to plain data. Fields keep their own names, whatever their aliases."""
        reasoning = getattr(self.dspy, "Reasoning", None)
        if reasoning is not None and isinstance(value, reasoning):
            return str(value)  # a string by dspy's own description of the type
        if isinstance(value, self.dspy.Example):
            return dict(value.items(include_dspy=True))
        fields: Any = getattr(cast("object", type(value)), "model_fields", None)
        if isinstance(fields, dict):
            # A pydantic model. Its fields are read one by one: dspy's own types serialise to prompt text.
            names = cast("dict[str, Any]", fields)
            extra = cast("dict[str, Any]", getattr(cast("object", value), "model_extra", None) or {})
            return {**{name: getattr(cast("object", value), name) for name in names}, **extra}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, enum.Enum):
            return value.value
        if callable(value):
            raise wire.Unencodable(
                path, type(value).__name__, f"a {type(value).__name__} cannot travel to another process"
            )
        pydantic: Any = importlib.import_module("pydantic")
        try:
            return pydantic.TypeAdapter(type(value)).dump_python(value, mode="json")  # dates, decimals, UUIDs, paths
        except Exception as error:
            raise wire.Unencodable(
                path,
                type(value).__name__,
                f"a {type(value).__module__}.{type(value).__qualname__} cannot be told to the host",
            ) from error

    def _described(self, error: BaseException) -> dict[str, Any]:
        judge = getattr(self.dspy, "is_retryable_lm_error", None)
        return {
            "kind": "program",
            "type": type(error).__qualname__,
            "module": type(error).__module__,
            "message": printable(str(error)),
            "traceback": traceback_of(error),
            "retriable": bool(judge(error)) if judge is not None else False,
        }


def traceback_of(error: BaseException) -> str:
    """The end of the traceback, at most 20,000 characters."""
    return printable("".join(traceback.format_exception(type(error), error, error.__traceback__)))[-_TRACEBACK_LIMIT:]


def printable(text: str) -> str:
    """Bounded, and free of lone surrogates, so that a message about an error can always be sent, logged and shown."""
    return text[: _TRACEBACK_LIMIT * 5].encode("utf-8", "backslashreplace").decode("utf-8")
