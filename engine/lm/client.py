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

import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, cast

import anyio

from ..caching import Cache, SingleFlight, current_cache
from ..logs import engine_logger
from ..settings import settings
from ..stream_progress import mark_emitted
from ..sync import before_loop_closes, run_sync
from ..usage import UsageTracker
from .base import Answer, BaseLM, Messages, Output
from .catalog import provider_of
from .chunks import AttributeDict, attributes, chunk_of
from .connections import Connections, close_all_connections
from .engines import ask_engine, check_encodable, check_engines, engine_from_state, engine_state, refuse_client_settings
from .errors import LMConfigurationError, LMError, LMTimeoutError, LMUnexpectedError, LMUnsupportedFeatureError
from .limits import LimitStatistics, RateLimit, estimated_tokens, rate_limit_for
from .lm15 import CacheConfig, Request, chat_of_request, response_of_completion
from .openai import is_reasoning_model
from .prices import Price, cost_of
from .retry import Backoff, retrying
from .training import ReinforceJob, TrainingJob, TrainingProvider
from .wire import (
    Access,
    ChatRequest,
    Completion,
    Delta,
    Emit,
    as_hit,
    completions_from_text,
    completions_to_text,
)

__all__ = ["LM"]

logger = engine_logger("dspex.engine.lm", dspy="dspy.clients.lm")

DEFAULT_TIMEOUT = 600.0  # seconds; the SDKs' own default for one attempt, here for the whole call
_APIS = ("chat", "text", "responses")
_NOT_IN_KEYS = ("api_key", "api_base", "base_url")
# Options that speak to this client and not to the model.
_CLIENT_OPTIONS = frozenset(
    {
        "api_base",
        "api_key",
        "base_url",
        "cache",
        "extra_headers",
        "headers",
        "max_retries",
        "model",
        "messages",
        "n",
        "num_generations",
        "num_retries",
        "rollout_id",
        "timeout",
    }
)

before_loop_closes(close_all_connections)

_flights: SingleFlight[tuple[Completion, ...]] = SingleFlight()


class LM(BaseLM):
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
        self.provider = provider if provider is not None else TrainingProvider()
        self.finetuning_model = finetuning_model
        self.launch_kwargs = launch_kwargs or {}
        self.train_kwargs = train_kwargs or {}
        self.use_developer_role = use_developer_role
        _seconds(self.kwargs.get("timeout"))
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
        wanted = {key: value for key, value in options.items() if value is not None and key not in _CLIENT_OPTIONS}
        if not call.get("cache", self.cache):
            return self._as_answer(await self._requested(sent, wanted, options), options)
        # The way of a hit is kept short: nothing is built for a request that is not made.
        cache = current_cache()
        key = self._cache_request(sent, wanted, options)
        kept = completions_from_text(await cache.aget(key, _NOT_IN_KEYS))
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
        own = {key: value for key, value in self.kwargs.items() if key in _CLIENT_OPTIONS and key != "n"}
        answer = await self._ask(None, sent, {**own, **options, **others}, others)
        answer.typed = response_of_completion(cast("Completion", answer.response))
        return answer

    async def _asked_by_one(
        self, cache: Cache, key: dict[str, Any], sent: Messages, wanted: Mapping[str, Any], options: Mapping[str, Any]
    ) -> tuple[Completion, ...]:
        """Answers that are not in the cache: asked for once, whoever else asks for them meanwhile."""

        async def ask() -> tuple[Completion, ...]:
            completions = await self._requested(sent, wanted, options)
            cost, _ = cost_of(completions, self._price)
            await cache.aput(key, completions_to_text(completions, cost=cost), _NOT_IN_KEYS)
            return completions

        if settings.send_stream is not None:
            return await ask()  # each reader must see the pieces, so each asks for itself
        try:
            flight = (id(cache), cache.cache_key(key, _NOT_IN_KEYS))
        except Exception:
            return await ask()  # a request without a key is not kept either
        completions, shared = await _flights.run(flight, ask)
        return tuple(as_hit(completion) for completion in completions) if shared else completions

    def _cache_request(
        self, sent: Messages, wanted: Mapping[str, Any], options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What makes a request different from another, as far as its answer is concerned."""
        key: dict[str, Any] = {
            "_fn_identifier": "dspex.engine.lm.LM",
            "model": self.model,
            "model_type": self.model_type,
            "messages": sent,
            "n": options.get("n") or 1,
            **wanted,
        }
        key.pop("prompt_cache", None)
        rollout = options.get("rollout_id")
        if rollout is not None:
            key["rollout_id"] = rollout
        return key

    def _as_answer(
        self, completions: Sequence[Completion], options: Mapping[str, Any], old_cost: float | None = None
    ) -> Answer:
        first = completions[0]
        outputs: list[Output] = [completion.output() for completion in completions]
        if self.model_type == "responses" or any(isinstance(output, dict) for output in outputs):
            outputs = [output if isinstance(output, dict) else {"text": output} for output in outputs]
        made = Answer(outputs, response=first if len(completions) == 1 else tuple(completions), model=first.model)
        for completion in completions:
            if completion.finish_reason == "length":
                logger.warning(
                    "LM response was truncated; increase max_tokens or inspect history. (%s, max_tokens=%s)",
                    self.model,
                    options.get("max_tokens", options.get("max_completion_tokens")),
                )
        if first.cache_hit:
            made.cost, made.cache_hit = old_cost, True
        else:
            usage = UsageTracker()
            for completion in completions:
                usage.add_usage("all", completion.usage)
            made.usage = usage.get_total_tokens().get("all", {})
            made.cost, made.cost_details = cost_of(tuple(completions), self._price)
        return made

    async def _requested(
        self, sent: Messages, wanted: Mapping[str, Any], options: Mapping[str, Any]
    ) -> tuple[Completion, ...]:
        """As many answers as were asked for, by request."""
        check_encodable(sent, "messages")
        request = ChatRequest(
            model=self._wire_model,
            label=self.model,
            messages=sent,
            options=wanted,
            headers={**(options.get("headers") or {}), **(options.get("extra_headers") or {})},
            timeout=_seconds(options.get("timeout")),
            api=self.model_type,
        )
        count = options.get("n") or options.get("num_generations") or 1
        retries = int(options.get("num_retries", self.num_retries))
        stream = settings.send_stream
        asked = _Asked(
            request,
            access=self._access(options),
            retries=retries,
            emit=None if stream is None else self._emitter(stream),
        )
        if isinstance(self._engine_spec, str):
            # Before the clock starts: importing an SDK takes seconds, and is not the provider's.
            await self._client(asked.access)
        if stream is None and isinstance(self._engine_spec, str):
            return tuple(await self._candidates(asked, count))
        # Pieces of one answer after the other; and nothing is known of what a custom engine can do at a time.
        return tuple([await self._one(asked) for _ in range(count)])

    def _emitter(self, stream: Any) -> Emit:
        predictor = settings.caller_predict
        predict_id = id(predictor) if predictor is not None else None

        async def emit(delta: Delta) -> None:
            try:
                await stream.send(chunk_of(delta, model=self.model, predict_id=predict_id))
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return  # the reader has gone; the answer is still wanted by whoever called
            mark_emitted()

        return emit

    async def _candidates(self, asked: _Asked, n: int) -> list[Completion]:
        """`n` answers to one request, asked for at the same time.

        The first failure cancels the others and is raised; what the finished ones used is counted all the same.
        """
        if n == 1:
            return [await self._one(asked)]
        answers: list[Completion | None] = [None] * n
        failures: list[LMError] = []

        async def ask(index: int) -> None:
            try:
                answers[index] = await self._one(asked)
            except LMError as error:
                failures.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for index in range(n):
                group.start_soon(ask, index)
        done = [answer for answer in answers if answer is not None]
        if failures:
            for answer in done:
                self._count(answer.usage)
            raise failures[0]
        return done

    async def _one(self, asked: _Asked) -> Completion:
        """One answer, retries included, within the request's timeout."""
        request = asked.request
        deadline = anyio.current_time() + request.timeout
        limit = self._rate_limit(asked.access)
        last: list[LMError] = []
        shown = _Shown(asked.emit)

        async def attempt() -> Completion:
            try:
                return await self._attempt(asked, limit, shown)
            except LMError as error:
                last[:] = [error]
                raise
            except (ImportError, MemoryError, Warning):
                raise  # a warning that the user has made an error is the user's
            except Exception as error:
                raise LMUnexpectedError(
                    f"The {self._answerer()} failed: {type(error).__name__}: {error}",
                    model=self.model,
                    provider=self._provider.name,
                ) from error

        with anyio.CancelScope(deadline=deadline):
            return await retrying(
                attempt,
                retries=asked.retries,
                deadline=deadline,
                backoff=self._backoff,
                may_repeat=lambda: not shown.anything,
            )
        raise LMTimeoutError(
            f"No answer within timeout={request.timeout:g} s, retries included.",
            model=self.model,
            provider=self._provider.name,
        ) from (last[0] if last else None)

    def _answerer(self) -> str:
        return f"{self._provider.name} client" if isinstance(self._engine_spec, str) else "custom engine"

    async def _attempt(self, asked: _Asked, limit: RateLimit | None, shown: _Shown) -> Completion:
        emit = shown.emit if asked.emit is not None else None
        if limit is None:
            return await self._complete(asked, emit)
        reserved = await limit.acquire(estimated_tokens(asked.request.messages))
        try:
            made = await self._complete(asked, emit)
        except LMError as error:
            limit.release(reserved)
            if error.status == 429:
                limit.refused(error.retry_after)
            raise
        except BaseException:
            limit.release(reserved)
            raise
        limit.settle(reserved, made.usage)
        return made

    async def _complete(self, asked: _Asked, emit: Emit | None) -> Completion:
        if not isinstance(self._engine_spec, str):
            return await ask_engine(self._engine_spec, self._async_engine_spec, asked.request, emit)
        return await self._provider.complete(await self._client(asked.access), asked.request, emit)

    async def embed(self, texts: Sequence[str], **options: Any) -> list[list[float]]:
        """Embed texts with this model: a vector for each, in their order. Retries, limits and deadline as for a call;
        nothing is cached here (see `dspex.engine.Embedder`).

        Raises:
            LMUnsupportedFeatureError: the provider has no embeddings.
            LMError: of the class that fits. Cancellation passes through and ends the request.
        """
        embed = getattr(self._provider, "embed", None)
        merged = {**self.kwargs, **options}
        access = self._access(merged)
        if embed is None:
            await self._client(access)  # an unknown provider says so
            raise LMUnsupportedFeatureError(
                f"{self._provider.name} has no embeddings API; use a model of a provider that has.",
                feature="embeddings",
                model=self.model,
                provider=self._provider.name,
            )
        request = ChatRequest(
            model=self._wire_model,
            label=self.model,
            messages=[{"content": text} for text in texts],
            options={k: v for k, v in merged.items() if v is not None and k not in _CLIENT_OPTIONS},
            headers={**(merged.get("headers") or {}), **(merged.get("extra_headers") or {})},
            timeout=_seconds(merged.get("timeout")),
        )
        check_encodable(texts, "inputs")
        await self._client(access)
        deadline = anyio.current_time() + request.timeout

        async def attempt() -> list[list[float]]:
            return await embed(await self._client(access), request, texts)

        with anyio.CancelScope(deadline=deadline):
            retries = int(merged.get("num_retries", self.num_retries))
            return await retrying(attempt, retries=retries, deadline=deadline, backoff=self._backoff)
        raise LMTimeoutError(
            f"No embeddings within timeout={request.timeout:g} s, retries included.",
            model=self.model,
            provider=self._provider.name,
        )

    def _rate_limit(self, access: Access) -> RateLimit | None:
        if self._requests_per_minute is None and self._tokens_per_minute is None:
            return None
        return rate_limit_for(
            self.model,
            access.base_url,
            requests_per_minute=self._requests_per_minute,
            tokens_per_minute=self._tokens_per_minute,
        )

    def _access(self, options: Mapping[str, Any]) -> Access:
        return Access(
            api_key=options.get("api_key") or self._api_key,
            base_url=options.get("base_url") or options.get("api_base"),
        )

    async def _client(self, access: Access) -> Any:
        try:
            return await self._connections.client(self._provider, access)
        except LMError as error:
            error.model = error.model or self.model
            raise

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

    # -- training ----------------------------------------------------------------------------------------------------

    def launch(self, launch_kwargs: dict[str, Any] | None = None) -> None:
        """Let the training provider start serving this model."""
        self.provider.launch(self, launch_kwargs)

    def kill(self, launch_kwargs: dict[str, Any] | None = None) -> None:
        """Let the training provider stop serving this model."""
        self.provider.kill(self, launch_kwargs)

    def finetune(
        self, train_data: list[dict[str, Any]], train_data_format: object, train_kwargs: dict[str, Any] | None = None
    ) -> TrainingJob:
        """Train in a thread; the job's result is a copy of this LM with the tuned model, or the exception.

        Raises:
            LMUnsupportedFeatureError: the provider does not train.
        """
        if not self.provider.finetunable:
            raise LMUnsupportedFeatureError(
                f"Provider {self.provider} does not support fine-tuning, please specify your provider by explicitly "
                "setting `provider` when creating the `dspy.LM` instance. For example, "
                "`dspy.LM('openai/gpt-4.1-mini-2025-04-14', provider=dspy.OpenAIProvider())`.",
                model=self.model,
                provider=self._provider.name,
                features=["finetuning"],
            )
        thread = threading.Thread(target=lambda: self._run_finetune_job(job), name="dspex-finetune")
        job: TrainingJob = self.provider.TrainingJob(
            thread=thread,
            model=self.finetuning_model or self.model,
            train_data=train_data,
            train_data_format=train_data_format,
            train_kwargs=train_kwargs or self.train_kwargs,
        )
        thread.start()
        return job

    def _run_finetune_job(self, job: TrainingJob) -> None:
        try:
            model = self.provider.finetune(
                job=job,
                model=job.model,
                train_data=job.train_data,
                train_data_format=job.train_data_format,
                train_kwargs=job.train_kwargs,
            )
            job.set_result(self.copy(model=model))
        except Exception as error:
            logger.error("Fine-tuning failed: %s", error)
            job.set_result(error)

    def reinforce(self, train_kwargs: dict[str, Any] | None) -> ReinforceJob:
        """Begin reinforcement learning with the training provider.

        Raises:
            LMUnsupportedFeatureError: the provider does not do that.
        """
        if not self.provider.reinforceable:
            raise LMUnsupportedFeatureError(
                f"Provider {self.provider} does not implement the reinforcement learning interface.",
                model=self.model,
                provider=self._provider.name,
                features=["reinforce"],
            )
        job: ReinforceJob = self.provider.ReinforceJob(lm=self, train_kwargs=train_kwargs)
        job.initialize()
        return job


class _Asked:
    """One request with all that one call says about how to make it."""

    __slots__ = ("access", "emit", "request", "retries")

    def __init__(self, request: ChatRequest, *, access: Access, retries: int, emit: Emit | None) -> None:
        self.request = request
        self.access = access
        self.retries = retries
        self.emit = emit


class _Shown:
    """Remembers whether any piece of an answer has gone out."""

    __slots__ = ("_emit", "anything")

    def __init__(self, emit: Emit | None) -> None:
        self._emit = emit
        self.anything = False

    async def emit(self, delta: Delta) -> None:
        self.anything = True
        if self._emit is not None:
            await self._emit(delta)


def _limit(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"{name} must be a positive number, not {value!r}")
    return float(value)


def _seconds(timeout: object) -> float:
    if timeout is None:
        return DEFAULT_TIMEOUT
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, not {timeout!r}")
    return float(timeout)
