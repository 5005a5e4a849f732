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
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, ClassVar, Self, TextIO, cast

import anyio.to_thread

from ..callbacks import with_callbacks
from ..settings import settings
from ..sync import alone_on_own_loop, beside_own_loop, run_sync
from ..turns import take_turn
from ..usage import UsageTracker
from .answer import Answer, Output
from .history import HistoryEntry, history_entry, print_history, record
from .kept_answers import answers_codec
from .metering import METER, metered
from .responses_shape import responses_outputs
from .shapes import as_dict, items, read

__all__ = ["LM_CLASS_STATE_KEY", "ON_ANSWER", "Answer", "BaseLM", "Messages", "Output"]

LM_CLASS_STATE_KEY = "_dspy_lm_class"
_SECRET_KEYS = frozenset({"api_key", "headers", "extra_headers", "default_headers"})
_NOT_OF_THE_REQUEST = _SECRET_KEYS | {"api_base", "base_url", "cache", "timeout", "num_retries"}

Messages = Sequence[Mapping[str, Any]]


ON_ANSWER: ContextVar[Callable[[Answer], None] | None] = ContextVar("dspex on_answer", default=None)
"""Told of the whole answer to the LM call that is under way; callbacks get its outputs only."""


class BaseLM:
    """A language model that modules can call.

    Attributes:
        model: the model's name; history and usage are filed under it.
        model_type: "chat", "text" or "responses".
        kwargs: default options of every request.
        history: the calls made, newest last (see `dspex.engine.lm.history`).
        num_retries: attempts after the first that a client may make.
        cache: whether `LM` keeps answers (see `dspex.engine.caching`). A subclass of your own is never cached, as in dspy.
        callbacks: told of this LM's calls, after the global ones.
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

    def __call__(self, prompt: Any = None, *, messages: Messages | None = None, **kwargs: Any) -> Any:
        """`acall` from synchronous code. Raises `SyncInsideLoopError` on a running event loop."""
        asks = self._asked if type(self).acall is BaseLM.acall else self.acall
        return run_sync(asks, prompt, messages=messages, **kwargs)

    async def acall(self, prompt: Any = None, *, messages: Messages | None = None, **kwargs: Any) -> Any:
        """Ask the model and return its outputs, one per candidate (`n=`).

        Args:
            prompt: the text of a single user message; ignored when `messages` is given. A `lm15.Request` is asked as it
                is, and answered with a `lm15.Response`.
            messages: OpenAI-shaped chat messages.
            **kwargs: options of this request, over the constructor's.

        Returns:
            Strings; or, when there is more than text, dicts with "text" and "reasoning_content", "tool_calls",
            "citations" or "logprobs".

        Raises:
            ValueError: `n` is not a positive integer, or there is neither prompt nor messages.
            LMError: of the class that fits. Cancellation passes through and ends the request.
        """
        if type(self).__call__ is not BaseLM.__call__:
            # A subclass that changes the synchronous call means every call. It blocks, so it goes to a thread.
            call = partial(self.__call__, prompt, messages=messages, **kwargs)

            async def blocking() -> Answer:
                return Answer(await anyio.to_thread.run_sync(call, abandon_on_cancel=True))

            return (await self._metered(prompt, messages, {**self.kwargs, **kwargs}, blocking)).outputs
        return await self._asked(prompt, messages=messages, **kwargs)

    @with_callbacks
    async def _asked(self, prompt: Any = None, *, messages: Messages | None = None, **kwargs: Any) -> Any:
        if messages is None and prompt is None and "request" not in kwargs:
            raise ValueError("An LM call needs a prompt or messages=[...].")
        options = {**self.kwargs, **kwargs}
        self._check_options(options)
        answer = await self._answer(prompt, messages or None, options, kwargs)
        hear = ON_ANSWER.get()
        if hear is not None:
            hear(answer)
        await take_turn()  # answers may arrive in crowds
        if not answer.cache_hit:
            self._count(answer.usage)
        if not settings.get("disable_history"):
            self.update_history(
                history_entry(
                    self,
                    prompt=prompt if answer.typed is None else None,
                    messages=messages,
                    kwargs=kwargs,
                    response=answer.response,
                    outputs=answer.outputs,
                    usage=answer.usage,
                    response_model=answer.model,
                    cost=answer.cost,
                    cost_details=answer.cost_details,
                )
            )
        return answer.outputs if answer.typed is None else answer.typed

    async def aforward(self, prompt: str | None = None, messages: Messages | None = None, **kwargs: Any) -> object:
        """Make one request and return an OpenAI-shaped chat completion. For subclasses; `kwargs` are the call's own."""
        if type(self).forward is BaseLM.forward:
            raise self._nothing_to_ask()
        call = partial(self.forward, prompt=prompt, messages=messages, **kwargs)
        if alone_on_own_loop():
            return beside_own_loop(call)  # a synchronous caller waits for it anyway
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)

    def forward(self, prompt: str | None = None, messages: Messages | None = None, **kwargs: Any) -> object:
        """The blocking form of `aforward`, for clients that have no other."""
        raise self._nothing_to_ask()

    def _nothing_to_ask(self) -> NotImplementedError:
        return NotImplementedError(
            f"Subclasses must implement this method. ({type(self).__name__} has neither aforward nor forward.)"
        )

    async def _answer(
        self, prompt: str | None, messages: Messages | None, options: Mapping[str, Any], call: Mapping[str, Any]
    ) -> Answer:
        """The answer of `aforward`. A subclass that answers otherwise lets a job see it by `_metered`."""
        return await self._metered(
            prompt, messages, options, partial(self._forwarded, prompt, messages, options, call)
        )

    async def _metered(
        self,
        prompt: str | None,
        messages: Messages | None,
        options: Mapping[str, Any],
        make: Callable[[], Awaitable[Answer]],
    ) -> Answer:
        if METER.get() is None:
            return await make()

        def request() -> Mapping[str, Any]:
            asked = {"prompt": prompt} if messages is None else {"messages": messages}
            known = {name: value for name, value in options.items() if name not in _NOT_OF_THE_REQUEST}
            kind = f"{type(self).__module__}.{type(self).__qualname__}"
            return {"lm": kind, "model": self.model, "model_type": self.model_type, **asked, **known}

        return await metered(request, make, answers_codec(), one_answer=False)

    async def _forwarded(
        self, prompt: str | None, messages: Messages | None, options: Mapping[str, Any], call: Mapping[str, Any]
    ) -> Answer:
        response = await self.aforward(prompt=prompt, messages=messages, **call)
        outputs = (
            responses_outputs(response)
            if self.model_type == "responses"
            else _outputs(response, logprobs=bool(options.get("logprobs")))
        )
        return Answer(
            outputs=outputs,
            usage=as_dict(read(response, "usage")),
            response=response,
            model=read(response, "model", self.model),
            cost=read(read(response, "_hidden_params"), "response_cost"),
            cache_hit=bool(read(response, "cache_hit", False)),
        )

    def _check_options(self, options: Mapping[str, Any]) -> None:
        n = options.get("n")
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
            raise ValueError(f"n must be a positive integer, not {n!r}")

    def _count(self, usage: Mapping[str, object]) -> None:
        tracker = cast("UsageTracker | None", settings.get("usage_tracker"))
        if tracker is not None:
            tracker.add_usage(self.model, usage)

    def inspect_history(self, n: int = 1, file: TextIO | None = None) -> None:
        """Print the last `n` calls of this LM. With `file`, there, and without colours."""
        print_history(self.history, n, file=file)

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
        made.callbacks = list(getattr(self, "callbacks", None) or [])
        made.kwargs = dict(getattr(self, "kwargs", None) or {})
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
            return builtin.load_state(values, allow_custom_lm_class=allow_custom_lm_class)
        if not allow_custom_lm_class:
            raise ValueError(
                f"Refusing to import custom serialized LM class `{path}`. Pass allow_unsafe_lm_state=True when loading "
                "trusted files to enable custom LM classes."
            )
        kind = _import_lm_class(str(path))
        if "allow_custom_lm_class" in inspect.signature(kind.load_state).parameters:
            return kind.load_state(values, allow_custom_lm_class=allow_custom_lm_class)
        return kind.load_state(values)  # a subclass may have the older signature


def _known_classes(base: type[BaseLM]) -> list[type[BaseLM]]:
    """The engine's own classes that dspy's state may name. `LM` comes first: states without a name mean it."""
    found: list[type[BaseLM]] = []
    for cls in base.__subclasses__():
        if cls.__dict__.get("builtin_state_class"):
            found.append(cls)
        found += _known_classes(cls)
    return found


def _import_lm_class(path: str) -> type[BaseLM]:
    """The class at a dotted path, which may lie inside another class."""
    parts = path.split(".")
    failed: Exception | None = None
    for split in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:split])
        try:
            found: object = importlib.import_module(module_name)
            for name in parts[split:]:
                found = getattr(found, name)
        except ModuleNotFoundError as error:
            if error.name != module_name and not module_name.startswith(f"{error.name}."):
                raise  # the module is there, and lacks something itself
            failed = error
        except AttributeError as error:
            failed = error
        else:
            if not isinstance(found, type):
                raise TypeError(f"Serialized LM class `{path}` did not resolve to a class.")
            if not issubclass(found, BaseLM):
                raise TypeError(f"Serialized LM class `{path}` must be a subclass of dspy.BaseLM.")
            return found
    raise ImportError(f"Could not import serialized LM class `{path}`.") from failed


def _outputs(response: object, *, logprobs: bool) -> list[Output]:
    """dspy's outputs from an OpenAI-shaped completion; all strings, or all dicts."""
    made: list[dict[str, Any]] = []
    for choice in items(response, "choices"):
        message = read(choice, "message")
        output: dict[str, Any] = {"text": read(choice, "text") if message is None else read(message, "content")}
        if reasoning := read(message, "reasoning_content"):
            output["reasoning_content"] = reasoning
        if logprobs:
            output["logprobs"] = read(choice, "logprobs")
        if calls := read(message, "tool_calls"):
            output["tool_calls"] = calls
        if citations := items(read(message, "provider_specific_fields"), "citations"):
            # One list a text block, or one for all.
            output["citations"] = [
                cited
                for group in citations
                for cited in (cast("list[Any]", group) if isinstance(group, list) else [group])
            ]
        made.append(output)
    if all(len(output) == 1 for output in made):
        return [output["text"] for output in made]
    return list(made)
