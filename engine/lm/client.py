"""`LM("provider/model")`: the language model client.

    lm = LM("openai/gpt-4o-mini", temperature=0.2)
    lm = LM("openai/my-model", base_url="http://127.0.0.1:8080/v1")      # any OpenAI-compatible server
    lm = LM("anthropic/claude-sonnet-4-6", max_tokens=2000, timeout=60)
    outputs = await lm.acall("Say hello.")                                # ["Hello!"]

What is true of every call: an answer that is cached costs no request, and of equal calls at the same time one is made;
otherwise one HTTP request per candidate, candidates concurrently; transient failures are tried again with growing
waits or as long as the server asked (`num_retries`); the whole of it, waits included, ends within `timeout` seconds;
every failure is an `LMError`; cancelling the call closes its connection.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, cast

from ..caching import current_cache
from ..logs import engine_logger
from ..sync import before_loop_closes, run_sync
from .asking import CLIENT_OPTIONS, NOT_IN_KEYS, AskingLM, seconds
from .base import Answer, BaseLM, Messages
from .catalog import provider_of
from .chunks import AttributeDict, attributes
from .connections import Connections, close_all_connections
from .engines import check_engines, engine_from_state, engine_state, refuse_client_settings
from .errors import LMConfigurationError
from .limits import LimitStatistics
from .lm15 import CacheConfig, Request, chat_of_request, response_of_completion
from .openai import is_reasoning_model
from .prices import Price
from .retry import Backoff
from .training import TrainableLM
from .wire import (
    Completion,
    completions_from_text,
)

__all__ = ["LM"]

logger = engine_logger("dspex.engine.lm", dspy="dspy.clients.lm")

_APIS = ("chat", "text", "responses")

before_loop_closes(close_all_connections)


class LM(TrainableLM, AskingLM):
    """A model behind a provider's HTTP API, through the provider's official SDK.

    Safe to share between tasks, event loops and threads. Copies share its connections.
    """

    builtin_state_class: ClassVar[str | None] = "dspy.clients.lm.LM"

    def __init__(
        self,
        model: str,
        model_type: Literal["chat", "text", "responses"] = "chat",
        temperature: float | None = None,
        max_tokens: int | None = None,
        cache: bool = True,
        callbacks: Sequence[object] | None = None,
        num_retries: int = 3,
        provider: Any = None,
        finetuning_model: str | None = None,
        launch_kwargs: dict[str, Any] | None = None,
        train_kwargs: dict[str, Any] | None = None,
        use_developer_role: bool = False,
        engine: Any = "auto",
        async_engine: Any = None,
        prompt_cache: CacheConfig | None = None,
        *,
        api_key: str | None = None,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        price: Price | None = None,
        **kwargs: Any,
    ) -> None:
        """Describe the model. Nothing is imported or opened until the first call.

        Args:
            model: "openai/<name>", "anthropic/<name>", or another prefix of the catalogue; a name without a slash means
                openai, as in dspy.
            model_type: "chat"; "responses" for OpenAI's Responses API; "text" for plain completion.
            temperature, max_tokens: defaults of every request; None leaves them to the provider.
            cache: keep answers and reuse them for equal requests (see `dspex.engine.caching`).
            callbacks: told of this LM's calls, after the global ones.
            num_retries: further attempts after a transient failure; 0 means one attempt.
            provider: trains and launches models (see `training`); it plays no part in asking them.
            finetuning_model, launch_kwargs, train_kwargs: for the training provider.
            use_developer_role: with `model_type="responses"`, system messages are sent as developer messages.
            engine: "auto"; or an object with `complete(Request) -> Response` that answers instead of the SDK (see
                `dspex.engine.lm15`). "lm15" and "litellm", dspy's transports, are accepted and mean "auto".
            async_engine: the same with an async `complete`, for calls made by `acall`. Without it the other is run in a
                worker thread.
            prompt_cache: what the provider should keep of the prompt.
            api_key: the credential. None leaves it to the SDK's environment variable. Never shown, saved or logged.
            requests_per_minute, tokens_per_minute: limits shared by all LMs of this model (see `limits`).
            price: what tokens cost, for the `cost` of history entries where the provider reports none.
            **kwargs: `base_url` (or `api_base`), `timeout` (seconds for the whole call, retries included, default
                600), `extra_headers`, `rollout_id`, and any option of the provider's API, as defaults of every request.

        Raises:
            LMConfigurationError: parameters that a reasoning model refuses.
            ValueError: malformed `model`, `model_type`, `num_retries`, `timeout` or limit; client options next to a
                custom engine, which owns its connection.
            TypeError: an engine without `complete`, or with one of the wrong kind.
        """
        check_engines(engine, async_engine)
        refuse_client_settings(engine, {**kwargs, "api_key": api_key})
        if not isinstance(model, str) or not model:  # pyright: ignore[reportUnnecessaryIsInstance]  # users pass None
            raise ValueError("model must be a non-empty string such as 'openai/gpt-4o-mini'")
        self._provider, self._wire_model = provider_of(model)
        if isinstance(num_retries, bool) or not isinstance(num_retries, int) or num_retries < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"num_retries must be a nonnegative integer, not {num_retries!r}")
        if model_type not in _APIS:
            raise ValueError(f"model_type must be one of {', '.join(map(repr, _APIS))}, not {model_type!r}")
        if prompt_cache is not None:
            if not isinstance(prompt_cache, CacheConfig):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError("prompt_cache must be a dspy.lm15.CacheConfig or None")
            kwargs["prompt_cache"] = prompt_cache
        self._connections = Connections()
        self._api_key = api_key
        self._backoff = Backoff()
        self._engine_spec = engine
        self._async_engine_spec = async_engine
        self._requests_per_minute = _limit("requests_per_minute", requests_per_minute)
        self._tokens_per_minute = _limit("tokens_per_minute", tokens_per_minute)
        self._price = price
        super().__init__(
            model,
            model_type=model_type,
            temperature=temperature,
            max_tokens=max_tokens,
            cache=cache,
            callbacks=callbacks,
            num_retries=num_retries,
            **kwargs,
        )
        self.provider = provider if provider is not None else self.infer_provider()
        self.finetuning_model = finetuning_model
        self.launch_kwargs = launch_kwargs or {}
        self.train_kwargs = train_kwargs or {}
        self.use_developer_role = use_developer_role
        seconds(self.kwargs.get("timeout"))
        self._warn_zero_temp_rollout(self.kwargs)

    def _initial_kwargs(self, *, temperature: float | None, max_tokens: int | None, **kwargs: Any) -> dict[str, Any]:
        if is_reasoning_model(self.model):
            if (temperature and temperature != 1.0) or (max_tokens and max_tokens < 16000):
                raise LMConfigurationError(
                    "OpenAI's reasoning models require passing temperature=1.0 or None and max_tokens >= 16000 or None "
                    "to `dspy.LM(...)`, e.g., dspy.LM('openai/gpt-5', temperature=1.0, max_tokens=16000)",
                    model=self.model,
                    provider=self._provider.name,
                )
            made = {"temperature": temperature, "max_completion_tokens": max_tokens, **kwargs}
        else:
            made = {"temperature": temperature, "max_tokens": max_tokens, **kwargs}
        if made.get("rollout_id") is None:
            made.pop("rollout_id", None)
        return made

    @property
    def engine(self) -> Any:
        """What answers: "auto", or the custom engine."""
        return self._engine_spec

    @property
    def supports_function_calling(self) -> bool:
        """Whether `tools=` reaches the model and its calls come back."""
        if not isinstance(self._engine_spec, str):
            return bool(getattr(self._engine_spec, "supports_function_calling", False))
        return self._provider.supports_function_calling(self._wire_model)

    @property
    def supports_reasoning(self) -> bool:
        """Whether the model shows its thinking as a field of its own."""
        if not isinstance(self._engine_spec, str):
            return bool(getattr(self._engine_spec, "supports_reasoning", False))
        return self._provider.supports_reasoning(self._wire_model)

    @property
    def supports_response_schema(self) -> bool:
        """Whether a JSON schema given as `response_format` binds the answer."""
        if not isinstance(self._engine_spec, str):
            return bool(getattr(self._engine_spec, "supports_response_schema", False))
        return self._provider.supports_response_schema(self._wire_model)

    @property
    def supported_params(self) -> set[str]:
        """Names of the OpenAI-style options that reach the model."""
        if not isinstance(self._engine_spec, str):
            return set(getattr(self._engine_spec, "supported_params", ()) or ())
        return set(self._provider.supported_params(self._wire_model, self.model_type))

    # -- calling -----------------------------------------------------------------------------------------------------

    async def _answer(
        self, prompt: Any, messages: Messages | None, options: Mapping[str, Any], call: Mapping[str, Any]
    ) -> Answer:
        if type(self).aforward is not LM.aforward or type(self).forward is not LM.forward:
            return await super()._answer(prompt, messages, options, call)  # a subclass that answers by itself
        return await self._ask(prompt, messages, options, call)

    async def _ask(
        self, prompt: Any, messages: Messages | None, options: Mapping[str, Any], call: Mapping[str, Any]
    ) -> Answer:
        asked = call.get("request")
        if isinstance(prompt, Request) or asked is not None:
            return await self._ask_typed(prompt, messages, call)
        self._warn_zero_temp_rollout(options)
        sent = messages if messages is not None else [{"role": "user", "content": prompt}]
        if self.use_developer_role and self.model_type == "responses":
            sent = [{**one, "role": "developer"} if one.get("role") == "system" else one for one in sent]
        if not isinstance(self._engine_spec, str):
            refuse_client_settings(self._engine_spec, call, where="LM call")
        wanted = {key: value for key, value in options.items() if value is not None and key not in CLIENT_OPTIONS}
        if not call.get("cache", self.cache):
            return self._as_answer(await self._requested(sent, wanted, options), options)
        # The way of a hit is kept short: nothing is built for a request that is not made.
        cache = current_cache()
        key = self._cache_request(sent, wanted, options)
        kept = completions_from_text(await cache.aget(key, NOT_IN_KEYS))
        if kept is not None:
            return self._as_answer(kept[0], options, kept[1])
        completions = await self._asked_by_one(cache, key, sent, wanted, options)
        return self._as_answer(completions, options)

    async def _ask_typed(self, prompt: Any, messages: Messages | None, call: Mapping[str, Any]) -> Answer:
        """A request of the protocol: it says everything itself, so the LM's own options stay out of it."""
        request, others = call.get("request"), dict(call)
        others.pop("request", None)
        if isinstance(prompt, Request):
            if request is not None:
                raise TypeError("Pass a Request once, positionally or by keyword")
            request, prompt = prompt, None
        if not isinstance(request, Request):
            raise TypeError("request must be a dspy.lm15.Request")
        if prompt is not None or messages is not None:
            raise TypeError("Do not combine a Request with prompt/messages")
        if request.model != self.model:
            raise ValueError("Request.model must match LM.model")
        extra = sorted(set(others) - {"cache", "rollout_id"})
        if extra:
            raise TypeError(f"Generation options belong in Request.config: {extra}")
        sent, options = chat_of_request(request)
        own = {key: value for key, value in self.kwargs.items() if key in CLIENT_OPTIONS and key != "n"}
        answer = await self._ask(None, sent, {**own, **options, **others}, others)
        answer.typed = response_of_completion(cast("Completion", answer.response))
        return answer

    def _warn_zero_temp_rollout(self, options: Mapping[str, Any]) -> None:
        if self._warned_zero_temp_rollout or options.get("rollout_id") is None or options.get("temperature") != 0:
            return
        self._warned_zero_temp_rollout = True
        warnings.warn(
            "rollout_id has no effect when temperature=0; set temperature>0 to bypass the cache.", stacklevel=3
        )

    def forward(self, prompt: Any = None, messages: Messages | None = None, **kwargs: Any) -> Any:
        """`aforward` from synchronous code."""
        return run_sync(self.aforward, prompt, messages, **kwargs)

    async def aforward(self, prompt: Any = None, messages: Messages | None = None, **kwargs: Any) -> Any:
        """Ask without callbacks, history and usage, and return an OpenAI-shaped chat completion."""
        if type(self).forward is not LM.forward:
            return await super().aforward(prompt, messages, **kwargs)  # a subclass that answers by itself
        options = {**self.kwargs, **kwargs}
        self._check_options(options)
        answer = await self._ask(prompt, messages or None, options, kwargs)
        choices: list[dict[str, Any]] = []
        for index, output in enumerate(answer.outputs):
            parts = output if isinstance(output, dict) else {"text": output}
            message = {
                "content": parts.get("text"),
                "tool_calls": parts.get("tool_calls"),
                "reasoning_content": parts.get("reasoning_content"),
            }
            logprobs = parts.get("logprobs")
            choices.append({"index": index, "finish_reason": "stop", "message": message, "logprobs": logprobs})
        return cast(
            "AttributeDict",
            attributes(
                {
                    "model": answer.model,
                    "choices": choices,
                    "usage": dict(answer.usage),
                    "cache_hit": answer.cache_hit,
                }
            ),
        )

    # -- life --------------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Import the SDK and make its client, which takes a second or more the first time; makes no request.

        Raises:
            MissingExtra: the SDK is not installed.
            LMConfigurationError: unknown provider.
            LMNotConfiguredError: there is no credential.
        """
        if isinstance(self._engine_spec, str):
            await self._client(self._access(self.kwargs))

    async def aclose(self) -> None:
        """Close the connections of this LM and its copies in the running event loop. A later call opens new ones."""
        await self._connections.aclose()

    def close(self) -> None:
        """`aclose` for the loop of synchronous calls from this thread."""
        run_sync(self.aclose)

    async def limits(self) -> LimitStatistics | None:
        """The state of this model's rate limit in the running event loop; None when there is none."""
        limit = self._rate_limit(self._access(self.kwargs))
        return None if limit is None else limit.statistics()

    def copy(self, **changes: Any) -> Self:
        """As `BaseLM.copy`; `api_key=`, `model=`, `price=` and the limits are understood too. A new `engine=` drops the
        old `async_engine`.

        Raises as the constructor does for a bad `model` or engine.
        """
        if changes.get("prompt_cache") is not None and not isinstance(changes["prompt_cache"], CacheConfig):
            raise TypeError("prompt_cache must be a dspy.lm15.CacheConfig or None")
        if "engine" in changes:
            spec, async_spec = changes.pop("engine"), changes.pop("async_engine", None)
        else:
            spec, async_spec = self._engine_spec, changes.pop("async_engine", self._async_engine_spec)
        check_engines(spec, async_spec)
        refuse_client_settings(spec, {**self.kwargs, **changes}, where="LM.copy")
        own = {
            f"_{name}": changes.pop(name)
            for name in ("api_key", "requests_per_minute", "tokens_per_minute", "price")
            if name in changes
        }
        made = super().copy(**changes)
        vars(made).update(own, _engine_spec=spec, _async_engine_spec=async_spec)
        if "model" in changes:
            made._provider, made._wire_model = provider_of(made.model)
        return made

    def __copy__(self) -> Self:
        made = object.__new__(type(self))
        vars(made).update(vars(self))  # connections included: a copy shares them, a pickle cannot
        return made

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        del state["_connections"]
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._connections = Connections()

    # -- state -------------------------------------------------------------------------------------------------------

    def dump_state(self) -> dict[str, Any]:
        """As `BaseLM.dump_state`, with the further keys that dspy's `LM` writes.

        Raises:
            TypeError: a custom engine that cannot be saved.
        """
        state = super().dump_state()
        if isinstance(state.get("prompt_cache"), CacheConfig):
            state["prompt_cache"] = state["prompt_cache"].as_state()
        if not isinstance(self._engine_spec, str):
            state["engine"] = engine_state(self._engine_spec, "engine")
            if self._async_engine_spec is not None:
                state["async_engine"] = engine_state(self._async_engine_spec, "async_engine")
        elif self._engine_spec != "auto":
            state["engine"] = self._engine_spec
        state.update(
            finetuning_model=self.finetuning_model, launch_kwargs=self.launch_kwargs, train_kwargs=self.train_kwargs
        )
        if self.use_developer_role:
            state["use_developer_role"] = True
        if is_reasoning_model(self.model) and "max_completion_tokens" in state:
            state["max_tokens"] = state.pop("max_completion_tokens")
        return state

    @classmethod
    def load_state(cls, state: Mapping[str, Any], *, allow_custom_lm_class: bool = False) -> BaseLM:
        """As `BaseLM.load_state`."""
        values = dict(state)
        if isinstance(values.get("prompt_cache"), Mapping):
            values["prompt_cache"] = CacheConfig(**values["prompt_cache"])
        if is_reasoning_model(str(values.get("model", ""))) and "max_completion_tokens" in values:
            values.setdefault("max_tokens", values["max_completion_tokens"])
            del values["max_completion_tokens"]
        if not isinstance(values.get("engine", "auto"), str):
            for name in ("engine", "async_engine"):
                if values.get(name) is not None:
                    values[name] = engine_from_state(values[name], name, allowed=allow_custom_lm_class)
        elif values.get("async_engine") is not None:
            raise ValueError("Serialized async_engine without a custom engine")
        return super().load_state(values, allow_custom_lm_class=allow_custom_lm_class)

def _limit(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"{name} must be a positive number, not {value!r}")
    return float(value)
