"""`LM("provider/model")`: the language model client.

    lm = LM("openai/gpt-4o-mini", temperature=0.2)
    lm = LM("openai/my-model", base_url="http://127.0.0.1:8080/v1")      # any OpenAI-compatible server
    lm = LM("anthropic/claude-sonnet-4-6", max_tokens=2000, timeout=60)
    outputs = await lm.acall("Say hello.")                                # ["Hello!"]

What is true of every call: one HTTP request per candidate, candidates concurrently; transient failures are tried
again with growing waits or as long as the server asked (`num_retries`); the whole of it, waits included, ends within
`timeout` seconds; every failure is an `LMError`; cancelling the call closes its connection.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import anyio

from ..sync import before_loop_closes
from ..usage import UsageTracker
from .anthropic import AnthropicProvider
from .base import Answer, BaseLM, Messages, Output
from .connections import Connections, close_all_connections
from .errors import LMConfigurationError, LMError, LMTimeoutError, LMUnexpectedError, LMUnsupportedFeatureError
from .openai import OpenAIProvider, is_reasoning_model
from .retry import Backoff, retrying
from .wire import Access, ChatRequest, Completion, Provider

__all__ = ["LM"]

logger = logging.getLogger("dspex.engine.lm")

DEFAULT_TIMEOUT = 600.0  # seconds; the SDKs' own default for one attempt, here for the whole call
_PROVIDERS: Mapping[str, Provider] = {"openai": OpenAIProvider(), "anthropic": AnthropicProvider()}
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
_NOT_YET = {
    "stream": "token streaming",
    "stream_options": "token streaming",
    "prompt_cache": "provider-side prompt caching",
}

before_loop_closes(close_all_connections)


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
        callbacks: list[object] | None = None,
        num_retries: int = 3,
        provider: object | None = None,
        finetuning_model: str | None = None,
        launch_kwargs: dict[str, Any] | None = None,
        train_kwargs: dict[str, Any] | None = None,
        use_developer_role: bool = False,
        engine: object = "auto",
        async_engine: object | None = None,
        prompt_cache: object | None = None,
        *,
        api_key: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Describe the model. Nothing is imported or opened until the first call.

        Args:
            model: "openai/<name>" or "anthropic/<name>"; a name without a slash means openai, as in dspy.
            model_type: "chat". The others of dspy are not offered.
            temperature, max_tokens: defaults of every request; None leaves them to the provider.
            cache: kept for compatibility and saved with state. Responses are not cached yet, whatever its value.
            num_retries: further attempts after a transient failure; 0 means one attempt.
            finetuning_model, launch_kwargs, train_kwargs, use_developer_role: kept so that saved state survives a
                round trip; the engine does not use them.
            api_key: the credential. None leaves it to the SDK's environment variable. Never shown, saved or logged.
            **kwargs: `base_url` (or `api_base`), `timeout` (seconds for the whole call, retries included, default
                600), `extra_headers`, and any option of the provider's chat API, as defaults of every request.

        Raises:
            LMConfigurationError: unknown provider prefix, or parameters that a reasoning model refuses.
            LMUnsupportedFeatureError: a part of dspy's LM that the engine does not have.
            ValueError: malformed `model`, `num_retries` or `timeout`.
        """
        if not isinstance(model, str) or not model:  # pyright: ignore[reportUnnecessaryIsInstance]  # users pass None
            raise ValueError("model must be a non-empty string such as 'openai/gpt-4o-mini'")
        if isinstance(num_retries, bool) or not isinstance(num_retries, int) or num_retries < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"num_retries must be a nonnegative integer, not {num_retries!r}")
        self._connections = Connections()
        self._api_key = api_key
        self._backoff = Backoff()
        self._provider, self._wire_model = _resolve(model)
        _refuse_not_offered(
            model,
            model_type=model_type,
            provider=provider,
            engine=engine,
            async_engine=async_engine,
            prompt_cache=prompt_cache,
        )
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
        self.finetuning_model = finetuning_model
        self.launch_kwargs = launch_kwargs or {}
        self.train_kwargs = train_kwargs or {}
        self.use_developer_role = use_developer_role
        _seconds(self.kwargs.get("timeout"))
        if self.kwargs.get("rollout_id") is not None and self.kwargs.get("temperature") == 0:
            self._warn_zero_temp_rollout()

    def _initial_kwargs(self, *, temperature: float | None, max_tokens: int | None, **kwargs: Any) -> dict[str, Any]:
        if is_reasoning_model(self.model):
            if (temperature and temperature != 1.0) or (max_tokens and max_tokens < 16000):
                raise LMConfigurationError(
                    "OpenAI's reasoning models require passing temperature=1.0 or None and max_tokens >= 16000 or "
                    "None to `LM(...)`, e.g., LM('openai/gpt-5', temperature=1.0, max_tokens=16000)",
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
    def supports_function_calling(self) -> bool:
        """Whether `tools=` reaches the model and its calls come back."""
        return self._provider.supports_function_calling(self._wire_model)

    @property
    def supports_response_schema(self) -> bool:
        """Whether a JSON schema given as `response_format` binds the answer."""
        return self._provider.supports_response_schema(self._wire_model)

    @property
    def supported_params(self) -> set[str]:
        """Names of the OpenAI-style options that reach the model."""
        return set(self._provider.supported_params(self._wire_model))

    async def _answer(
        self, prompt: str | None, messages: Messages | None, options: Mapping[str, Any], call: Mapping[str, Any]
    ) -> Answer:
        timeout = _seconds(options.get("timeout"))
        retries = int(options.get("num_retries", self.num_retries))
        access = self._access(options)
        request = ChatRequest(
            model=self._wire_model,
            label=self.model,
            messages=messages if messages is not None else [{"role": "user", "content": prompt}],
            options=self._wire_options(options),
            headers={**(options.get("headers") or {}), **(options.get("extra_headers") or {})},
            timeout=timeout,
        )
        await self._client(access)  # before the clock starts: importing an SDK takes seconds, and is not the provider's
        completions = await self._candidates(request, access, retries, options.get("n") or 1)
        usage = UsageTracker()
        for completion in completions:
            if completion.finish_reason == "length":
                logger.warning(
                    "%s: the answer was cut off at the token limit (max_tokens=%s). Give LM(...) a larger one.",
                    self.model,
                    options.get("max_tokens", options.get("max_completion_tokens")),
                )
            usage.add_usage("all", completion.usage)
        outputs: list[Output] = [completion.output() for completion in completions]
        if any(isinstance(output, dict) for output in outputs):
            outputs = [output if isinstance(output, dict) else {"text": output} for output in outputs]
        return Answer(
            outputs=outputs,
            usage=usage.get_total_tokens().get("all", {}),
            response=completions[0] if len(completions) == 1 else tuple(completions),
            model=completions[0].model,
        )

    def _wire_options(self, options: Mapping[str, Any]) -> dict[str, object]:
        wanted = {key: value for key, value in options.items() if value is not None}
        refused = [key for key in _NOT_YET if wanted.get(key)]
        if refused:
            raise LMUnsupportedFeatureError(
                f"{', '.join(refused)}: dspex.engine has no {_NOT_YET[refused[0]]} yet. Remove it.",
                features=refused,
                model=self.model,
                provider=self._provider.name,
            )
        return {key: value for key, value in wanted.items() if key not in _CLIENT_OPTIONS and key not in _NOT_YET}

    async def _candidates(self, request: ChatRequest, access: Access, retries: int, n: int) -> list[Completion]:
        """`n` answers to one request, asked for at the same time.

        The first failure cancels the others and is raised; what the finished ones used is counted all the same.
        """
        if n == 1:
            return [await self._one(request, access, retries)]
        answers: list[Completion | None] = [None] * n
        failures: list[LMError] = []

        async def ask(index: int) -> None:
            try:
                answers[index] = await self._one(request, access, retries)
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

    async def _one(self, request: ChatRequest, access: Access, retries: int) -> Completion:
        """One answer, retries included, within the request's timeout."""
        deadline = anyio.current_time() + request.timeout
        last: list[LMError] = []

        async def attempt() -> Completion:
            try:
                return await self._provider.complete(await self._client(access), request)
            except LMError as error:
                last[:] = [error]
                raise
            except (ImportError, MemoryError):
                raise
            except Exception as error:
                raise LMUnexpectedError(
                    f"The {self._provider.name} client failed: {type(error).__name__}: {error}",
                    model=self.model,
                    provider=self._provider.name,
                ) from error

        with anyio.CancelScope(deadline=deadline):
            return await retrying(attempt, retries=retries, deadline=deadline, backoff=self._backoff)
        raise LMTimeoutError(
            f"No answer within timeout={request.timeout:g} s, retries included.",
            model=self.model,
            provider=self._provider.name,
        ) from (last[0] if last else None)

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

    async def prepare(self) -> None:
        """Import the SDK and make its client, which takes a second or more the first time; makes no request.

        Raises:
            MissingExtra: the SDK is not installed.
            LMNotConfiguredError: there is no credential.
        """
        await self._client(self._access(self.kwargs))

    async def aclose(self) -> None:
        """Close the connections of this LM and its copies in the running event loop. A later call opens new ones."""
        await self._connections.aclose()

    def copy(self, **changes: Any) -> Self:
        """As `BaseLM.copy`; `api_key=` and `model=` are understood too.

        Raises as the constructor does for a bad `model`.
        """
        key = changes.pop("api_key", None)
        made = super().copy(**changes)
        if key is not None:
            made._api_key = key
        if "model" in changes:
            made._provider, made._wire_model = _resolve(made.model)
        return made

    def dump_state(self) -> dict[str, Any]:
        """As `BaseLM.dump_state`, with the further keys that dspy's `LM` writes."""
        state = super().dump_state()
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
        if is_reasoning_model(str(values.get("model", ""))) and "max_completion_tokens" in values:
            values.setdefault("max_tokens", values.pop("max_completion_tokens"))
        if isinstance(values.get("engine"), str):
            del values["engine"]  # which of dspy's transports to use: a question that does not arise here
        return super().load_state(values, allow_custom_lm_class=allow_custom_lm_class)


def _resolve(model: str) -> tuple[Provider, str]:
    """The provider of "prefix/name", and the name it knows the model by."""
    prefix, slash, name = model.partition("/")
    if not slash:
        return _PROVIDERS["openai"], model
    if not name:
        raise ValueError(f"model {model!r} has a provider prefix but no model id after it")
    provider = _PROVIDERS.get(prefix)
    if provider is None:
        offered = ", ".join(f'"{known}/..."' for known in _PROVIDERS)
        raise LMConfigurationError(
            f"Unknown provider {prefix!r}. Supported: {offered}. A server that speaks OpenAI's HTTP is reached as "
            f'LM("openai/{model}", base_url="https://.../v1"); for anything else write a BaseLM subclass.',
            model=model,
            provider=prefix,
        )
    return provider, name


def _refuse_not_offered(model: str, *, model_type: str, provider: object, engine: object, **unset: object) -> None:
    asked = [name for name, value in unset.items() if value is not None]
    if model_type != "chat":
        asked.append(f"model_type={model_type!r}")
    if provider is not None:
        asked.append("provider")
    if engine != "auto":
        asked.append("engine")
    if asked:
        raise LMUnsupportedFeatureError(
            f"LM(...) of dspex.engine does not offer {', '.join(asked)} yet; only chat models through the provider's "
            "SDK. Leave it out, write a BaseLM subclass, or run this program in the legacy pool.",
            features=asked,
            model=model,
        )


def _seconds(timeout: object) -> float:
    if timeout is None:
        return DEFAULT_TIMEOUT
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, not {timeout!r}")
    return float(timeout)
