"""The host's side of the `dspy` that code in a sandbox can import: it builds and runs the real predictors.

One `FacadeInvocation` serves one run of a module. It holds the predictors built so far, and lets every LM call they
make be counted and admitted (`SandboxLM`): model-written code may choose generation options, not where requests go.
"""

from __future__ import annotations

import inspect
import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from pydantic_core import PydanticSerializationError, to_jsonable_python

from ..lm import BaseLM, LMError
from ..off_loop import HostFunction, ask
from ..sandbox import CodeInterpreter, CodeInterpreterError, run_code
from ..sandbox.facade_source import (
    CALL_TOOL,
    CONSTRUCT_TOOL,
    FACADE_SOURCE,
    HOST_TOKEN,
    KINDS,
    SIGNATURE_MARK,
    TOOL_MARK,
)
from ..settings import context, settings
from ..signatures import make_signature

__all__ = ["FacadeInvocation", "SandboxLM", "is_reserved_sandbox_name"]

_LM_OPTIONS = frozenset(
    {
        "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "n", "seed", "logprobs", "top_logprobs",
        "response_format", "reasoning", "reasoning_effort", "tools", "tool_choice", "parallel_tool_calls", "cache",
        "rollout_id", "prompt_cache", "prompt_cache_key",
    }
)  # fmt: skip
"""What sandboxed code may say of a request. Addresses, credentials and transport are not among it."""

_TOKEN = secrets.token_hex(16)


def is_reserved_sandbox_name(name: str) -> bool:
    """Whether the facade needs this name in the sandbox's namespace."""
    return name == "dspy" or name.startswith(("_dspy", "__dspy"))


class SandboxLM(BaseLM):
    """A host's LM as sandboxed code may use it.

    Every call first reserves its completions with `reserve`, which raises when there are none left.
    """

    def __init__(self, lm: Any, reserve: Callable[[int], None] | None = None) -> None:
        super().__init__(model=getattr(lm, "model", None) or "", model_type=getattr(lm, "model_type", "chat"))
        given: dict[str, Any] = getattr(lm, "kwargs", None) or {}
        self.kwargs = {key: value for key, value in given.items() if key in _LM_OPTIONS}
        self._lm = lm
        self._reserve = reserve

    async def acall(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        """As the LM's, for admitted options only.

        Raises:
            TypeError: another option.
        """
        _check(kwargs)
        if self._reserve is not None:
            self._reserve(max(1, int(kwargs.get("n", self.kwargs.get("n")) or 1)))
        if messages is None:
            return await ask(self._lm, prompt, **kwargs)
        return await ask(self._lm, messages=messages, **kwargs)

    def copy(self, **changes: Any) -> Any:
        """A copy over a copy of the LM, metered as this one."""
        _check(changes)
        return SandboxLM(self._lm.copy(**changes), self._reserve)

    @property
    def supports_function_calling(self) -> bool:
        return getattr(self._lm, "supports_function_calling", False)

    @property
    def supports_reasoning(self) -> bool:
        return getattr(self._lm, "supports_reasoning", False)

    @property
    def supports_response_schema(self) -> bool:
        return getattr(self._lm, "supports_response_schema", False)

    @property
    def supported_params(self) -> set[str]:
        return getattr(self._lm, "supported_params", set())


def _check(options: Mapping[str, Any]) -> None:
    rejected = sorted(options.keys() - _LM_OPTIONS)
    if rejected:
        raise TypeError(
            f"Sandboxed code may not set LM option(s) {rejected}; allowed per call: {sorted(_LM_OPTIONS)}."
        )


class FacadeInvocation:
    """What one run of a module has built for its code."""

    def __init__(
        self,
        kinds: Mapping[str, type],
        tools: Mapping[str, Any],
        interpreter_factory: Callable[[], CodeInterpreter],
        *,
        lm: Any = None,
        reserve: Callable[[int], None] | None = None,
    ) -> None:
        """Describe the run.

        Args:
            kinds: the modules that may be built, by name.
            tools: the host functions that may be handed to them.
            interpreter_factory: where those of them run code that write some.
            lm: the LM of all of them; None: that of the settings at the time.
            reserve: called before every request with its number of completions; raises to refuse it.
        """
        self._kinds = kinds
        self._tools = tools
        self._factory = interpreter_factory
        self._lm = lm
        self._reserve = reserve
        self._predictors: dict[str, Any] = {}

    async def install(self, interpreter: CodeInterpreter) -> None:
        """Make `import dspy` work in `interpreter`.

        Raises:
            CodeExecutionError, SyntaxError: it cannot run the facade's source.
        """
        interpreter.tools.update({CONSTRUCT_TOOL: self.construct, CALL_TOOL: HostFunction(self.call)})
        await run_code(interpreter, FACADE_SOURCE, {HOST_TOKEN: _TOKEN})

    def construct(self, kind: str, signature: Any, attr_name: str, kwargs: dict[str, Any] | None = None) -> str:
        """Build a predictor; its handle is `attr_name`."""
        if kind not in self._kinds:
            raise CodeInterpreterError(
                f"dspy.{kind} is not supported through the sandbox dspy bridge yet (bridgeable: {', '.join(KINDS)})"
            )
        given = kwargs or {}
        if "interpreter_factory" in given:
            raise CodeInterpreterError(
                f"dspy.{kind} built in the sandbox runs on the host module's interpreter; sandboxed code cannot choose "
                "its interpreter_factory."
            )
        made: Any = self._kinds[kind]
        options = {key: self._resolved(value) for key, value in given.items()}
        if "interpreter_factory" in inspect.signature(made.__init__).parameters:
            options["interpreter_factory"] = self._factory
        self._predictors[attr_name] = made(_signature(signature), **options)
        return attr_name

    async def call(self, handle: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a predictor and return its outputs as JSON data."""
        predictor = self._predictors.get(handle)
        if predictor is None:
            raise CodeInterpreterError(f"Unknown predictor handle: {handle!r}")
        try:
            with self._metered():
                return _fields(await ask(predictor, **(inputs or {})))
        except LMError as error:
            raise CodeInterpreterError(f"[dspy bridge lm-error] {type(error).__name__}: {error}") from error

    def _metered(self) -> AbstractContextManager[None]:
        lm: Any = self._lm if self._lm is not None else settings.lm
        if lm is None:
            return nullcontext()
        if isinstance(lm, SandboxLM) and self._reserve is None:
            return context(lm=lm)
        return context(lm=SandboxLM(lm, self._reserve))

    def _resolved(self, value: Any) -> Any:
        """Names of tools as the tools."""
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value)
            if TOOL_MARK not in items:
                return {key: self._resolved(item) for key, item in items.items()}
            name = items[TOOL_MARK]
            if name not in self._tools:
                raise CodeInterpreterError(
                    f"Sandboxed code referenced tool {name!r}, which was not provided to the host module's tools. "
                    "Functions authored inside the sandbox cannot be handed to a bridged sub-predictor."
                )
            return self._tools[name]
        if isinstance(value, list):
            return [self._resolved(item) for item in cast("list[Any]", value)]
        return value


def _signature(sent: Any) -> Any:
    if isinstance(sent, dict) and cast("dict[str, Any]", sent).get(SIGNATURE_MARK):
        marked = cast("dict[str, Any]", sent)
        return make_signature(marked["signature"], marked.get("instructions"))
    return make_signature(sent) if isinstance(sent, str) else cast("Any", sent)


def _fields(prediction: Any) -> dict[str, Any]:
    store: Any = getattr(prediction, "_store", prediction)
    if not isinstance(store, dict):
        raise CodeInterpreterError(
            f"A bridged predictor must return a dspy.Prediction; got {type(prediction).__name__}"
        )
    fields = {key: _jsonable(value) for key, value in cast("dict[str, Any]", store).items()}
    try:
        json.dumps(fields)
    except TypeError as error:
        raise CodeInterpreterError(
            "A bridged predictor returned a field that cannot cross the sandbox boundary (must be JSON-serializable): "
            f"{error}"
        ) from error
    return fields


def _jsonable(value: Any) -> Any:
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        return value
