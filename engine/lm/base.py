"""`BaseLM`: what the engine asks of a language model, and the base class for your own.

    class Echo(BaseLM):
        async def aforward(self, prompt=None, messages=None, **kwargs):
            text = messages[-1]["content"]
            return {"model": "echo", "choices": [{"message": {"content": text}}], "usage": {}}

    configure(lm=Echo("echo"))

Implement `aforward`, or `forward` if your client is blocking (it is then run in a worker thread). Return an
OpenAI-shaped chat completion, as dicts or objects. `acall` adds what every LM has: defaults from the constructor,
usage, history, and outputs in dspy's shape.
"""

from __future__ import annotations

import copy as copying
import importlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Self, cast

import anyio.to_thread
from pydantic import BaseModel

from ..callbacks import with_callbacks
from ..settings import settings
from ..sync import run_sync
from ..usage import UsageTracker
from .history import HistoryEntry, history_entry, record

__all__ = ["LM_CLASS_STATE_KEY", "Answer", "BaseLM", "Messages", "Output"]

LM_CLASS_STATE_KEY = "_dspy_lm_class"
_SECRET_KEYS = frozenset({"api_key", "headers", "extra_headers", "default_headers"})

Messages = Sequence[Mapping[str, Any]]
Output = str | dict[str, Any]


@dataclass(slots=True)
class Answer:
    """What one `acall` got: the outputs, and what they cost.

    Attributes:
        outputs: one per candidate, in dspy's shape.
        usage: token counts of all candidates together.
        response: the provider's answer, for the history.
        model: the model that answered, by its own account.
    """

    outputs: list[Output]
    usage: Mapping[str, object] = field(default_factory=dict[str, object])
    response: object = None
    model: str | None = None


class BaseLM:
    """A language model that modules can call.

    Attributes:
        model: the model's name; history and usage are filed under it.
        model_type: "chat".
        kwargs: default options of every request.
        history: the calls made, newest last (see `dspex.engine.lm.history`).
        num_retries: attempts after the first that a client may make.
        cache: kept for compatibility with dspy. The engine does not cache responses yet, whatever its value.
    """

    callback_kind: ClassVar[str] = "lm"
    builtin_state_class: ClassVar[str | None] = None
    """The class path that dspy 3.4 writes for this class into saved state; None for classes of your own."""

    def __init__(
        self,
        model: str,
        model_type: str = "chat",
        temperature: float | None = None,
        max_tokens: int | None = None,
        cache: bool = True,
        callbacks: Sequence[object] | None = None,
        num_retries: int = 3,
        **kwargs: Any,
    ) -> None:
        self.model = model
        self.model_type = model_type
        self.cache = cache
        self.callbacks: list[Any] = list(callbacks or [])
        self.num_retries = num_retries
        self.kwargs = self._initial_kwargs(temperature=temperature, max_tokens=max_tokens, **kwargs)
        self.history: list[HistoryEntry] = []
        self._warned_zero_temp_rollout = False

    def _initial_kwargs(self, *, temperature: float | None, max_tokens: int | None, **kwargs: Any) -> dict[str, Any]:
        return {"temperature": temperature, "max_tokens": max_tokens, **kwargs}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    @property
    def supports_function_calling(self) -> bool:
        """Whether `tools=` reaches the model. False unless a subclass knows better, as are the next three."""
        return False

    @property
    def supports_reasoning(self) -> bool:
        """Whether the model shows its reasoning as a field of its own."""
        return False

    @property
    def supports_response_schema(self) -> bool:
        """Whether a JSON schema given as `response_format` binds the answer."""
        return False

    @property
    def supported_params(self) -> set[str]:
        """Names of the OpenAI-style options that reach the model."""
        return set()

    def __call__(self, prompt: str | None = None, messages: Messages | None = None, **kwargs: Any) -> list[Output]:
        """`acall` from synchronous code. Raises `SyncInsideLoopError` on a running event loop."""
        return run_sync(self.acall, prompt, messages, **kwargs)

    @with_callbacks
    async def acall(self, prompt: str | None = None, messages: Messages | None = None, **kwargs: Any) -> list[Output]:
        """Ask the model and return its outputs, one per candidate (`n=`).

        Args:
            prompt: the text of a single user message; ignored when `messages` is given.
            messages: OpenAI-shaped chat messages.
            **kwargs: options of this request, over the constructor's.

        Returns:
            Strings; or, when there is more than text, dicts with "text" and "reasoning_content", "tool_calls" or
            "logprobs".

        Raises:
            ValueError: `n` is not a positive integer, or there is neither prompt nor messages.
            LMError: of the class that fits. Cancellation passes through and ends the request.
        """
        if messages is None and prompt is None:
            raise ValueError("An LM call needs a prompt or messages=[...].")
        options = {**self.kwargs, **kwargs}
        self._check_options(options)
        answer = await self._answer(prompt, messages, options, kwargs)
        self._count(answer.usage)
        if not settings.disable_history:
            self.update_history(
                history_entry(
                    self,
                    prompt=prompt,
                    messages=messages,
                    kwargs=kwargs,
                    response=answer.response,
                    outputs=answer.outputs,
                    usage=answer.usage,
                    response_model=answer.model,
                )
            )
        return answer.outputs

    async def aforward(self, prompt: str | None = None, messages: Messages | None = None, **kwargs: Any) -> object:
        """Make one request and return an OpenAI-shaped chat completion. For subclasses; `kwargs` are the call's own."""
        if type(self).forward is BaseLM.forward:
            raise NotImplementedError(f"{type(self).__name__} must implement aforward (or forward).")
        call = partial(self.forward, prompt, messages, **kwargs)
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)

    def forward(self, prompt: str | None = None, messages: Messages | None = None, **kwargs: Any) -> object:
        """The blocking form of `aforward`, for clients that have no other."""
        raise NotImplementedError(f"{type(self).__name__} must implement aforward (or forward).")

    async def _answer(
        self, prompt: str | None, messages: Messages | None, options: Mapping[str, Any], call: Mapping[str, Any]
    ) -> Answer:
        response = await self.aforward(prompt, messages, **call)
        return Answer(
            outputs=_outputs(response, logprobs=bool(options.get("logprobs"))),
            usage=_as_dict(_get(response, "usage")),
            response=response,
            model=cast("str | None", _get(response, "model")) or self.model,
        )

    def _check_options(self, options: Mapping[str, Any]) -> None:
        n = options.get("n")
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
            raise ValueError(f"n must be a positive integer, not {n!r}")
        if options.get("rollout_id") is not None and options.get("temperature") == 0:
            self._warn_zero_temp_rollout()

    def _warn_zero_temp_rollout(self) -> None:
        if not self._warned_zero_temp_rollout:
            self._warned_zero_temp_rollout = True
            warnings.warn(
                "rollout_id has no effect when temperature=0; set temperature>0 to bypass the cache.", stacklevel=4
            )

    def _count(self, usage: Mapping[str, object]) -> None:
        tracker = cast("UsageTracker | None", settings.usage_tracker)
        if tracker is not None:
            tracker.add_usage(self.model, usage)

    def update_history(self, entry: HistoryEntry) -> None:
        """Keep a call. Override to send the entries elsewhere."""
        record(self, entry)

    async def prepare(self) -> None:
        """Do now what the first call would do before it sends anything. Nothing here; no LM makes a request for it."""

    async def aclose(self) -> None:
        """Close what the LM holds open in the running event loop. Nothing here; clients with sockets override it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def copy(self, **changes: Any) -> Self:
        """A copy with other options, as `lm.copy(rollout_id=1, temperature=1.0)`.

        Connections are shared with the original; history, options and callbacks are the copy's own. A change named
        like an attribute sets it; one named like an option (or like nothing known) sets the option, and None removes
        the option.
        """
        made = copying.copy(self)
        made.history = []
        made.callbacks = list(self.callbacks)
        made.kwargs = dict(self.kwargs)
        made._warned_zero_temp_rollout = False
        for key, value in changes.items():
            known = hasattr(self, key)
            if known:
                setattr(made, key, value)
            if key in made.kwargs or not known:
                if value is None:
                    made.kwargs.pop(key, None)
                else:
                    made.kwargs[key] = value
        return made

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        # A deep copy of a program must not open a second set of connections.
        made = self.copy()
        made.kwargs = copying.deepcopy(self.kwargs, memo)
        memo[id(self)] = made
        return made

    def dump_state(self) -> dict[str, Any]:
        """What is needed to build this LM again, as JSON-ready data in dspy's layout. Never a credential."""
        own = f"{type(self).__module__}.{type(self).__qualname__}"
        options = {
            key: value for key, value in self.kwargs.items() if key not in _SECRET_KEYS and key != LM_CLASS_STATE_KEY
        }
        return {
            LM_CLASS_STATE_KEY: type(self).__dict__.get("builtin_state_class") or own,
            "model": self.model,
            "model_type": self.model_type,
            "cache": self.cache,
            "num_retries": self.num_retries,
            **options,
        }

    @classmethod
    def load_state(cls, state: Mapping[str, Any], *, allow_custom_lm_class: bool = False) -> BaseLM:
        """Build an LM from `dump_state` output, ours or dspy's.

        Called on `BaseLM`, it picks the class the state names; called on a subclass, it builds that.

        Raises:
            ValueError: the state names a class of the user's and `allow_custom_lm_class` is False. Loading it
                would import and run code that a file chose.
            ImportError: that class cannot be imported.
            TypeError: it is not an LM class.
        """
        values = dict(state)
        path = values.pop(LM_CLASS_STATE_KEY, None)
        if cls is not BaseLM:
            return cls(**values)
        builtin = next((known for known in _known_classes(BaseLM) if path in (None, known.builtin_state_class)), None)
        if builtin is not None:
            return builtin.load_state(values)
        if not allow_custom_lm_class:
            raise ValueError(
                f"Refusing to import the LM class {path!r} that this state names: a state file must not choose code "
                "to run. Pass allow_unsafe_lm_state=True if you trust the file."
            )
        return _import_lm_class(str(path)).load_state(values)


def _known_classes(base: type[BaseLM]) -> list[type[BaseLM]]:
    """The engine's own classes that dspy's state may name. `LM` comes first: states without a name mean it."""
    return [cls for cls in base.__subclasses__() if cls.__dict__.get("builtin_state_class")]


def _import_lm_class(path: str) -> type[BaseLM]:
    module_name, _, name = path.rpartition(".")
    try:
        found: object = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImportError(f"Could not import the LM class {path!r} that this state names.") from error
    if not (isinstance(found, type) and issubclass(found, BaseLM)):
        raise TypeError(f"{path!r}, named by this state, is not a subclass of dspex.engine.BaseLM.")
    return found


def _get(source: object, name: str) -> object:
    return (
        cast("Mapping[str, object]", source).get(name) if isinstance(source, Mapping) else getattr(source, name, None)
    )


def _as_dict(value: object) -> dict[str, object]:
    if value is None:
        return {}
    return dict(value.model_dump()) if isinstance(value, BaseModel) else dict(cast("Mapping[str, object]", value))


def _outputs(response: object, *, logprobs: bool) -> list[Output]:
    """dspy's outputs from an OpenAI-shaped completion; all strings, or all dicts."""
    made: list[dict[str, Any]] = []
    for choice in cast("Sequence[object]", _get(response, "choices") or ()):
        message = _get(choice, "message")
        output: dict[str, Any] = {
            "text": _get(message if message is not None else choice, "content" if message is not None else "text")
        }
        if reasoning := _get(message, "reasoning_content"):
            output["reasoning_content"] = reasoning
        if logprobs:
            output["logprobs"] = _get(choice, "logprobs")
        if calls := _get(message, "tool_calls"):
            output["tool_calls"] = calls
        made.append(output)
    if all(len(output) == 1 for output in made):
        return [output["text"] for output in made]
    return list(made)
