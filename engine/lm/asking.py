"""What happens to a request that an `LM` must make: one request per candidate, retried, limited, timed, streamed.

`AskingLM` is `LM` as far as this is concerned; the description of a model, its copies and its state are in `client`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from ..caching import Cache, SingleFlight
from ..logs import engine_logger
from ..settings import settings
from ..stream_progress import mark_emitted
from ..usage import UsageTracker
from .base import Answer, BaseLM, Messages, Output
from .chunks import chunk_of
from .connections import Connections
from .engines import ask_engine, check_encodable
from .errors import LMError, LMTimeoutError, LMUnexpectedError, LMUnsupportedFeatureError
from .kept_answers import completions_codec
from .limits import RateLimit, estimated_tokens, rate_limit_for
from .metering import METER, metered
from .prices import Price, cost_of
from .retry import Backoff, retrying
from .wire import Access, ChatRequest, Completion, Delta, Emit, Provider, as_hit, completions_to_text

__all__ = ["CLIENT_OPTIONS", "NOT_IN_KEYS", "AskingLM", "seconds"]

logger = engine_logger("dspex.engine.lm", dspy="dspy.clients.lm")

DEFAULT_TIMEOUT = 600.0  # seconds; the SDKs' own default for one attempt, here for the whole call
NOT_IN_KEYS = ("api_key", "api_base", "base_url")
# Options that speak to this client and not to the model.
CLIENT_OPTIONS = frozenset(
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

_flights: SingleFlight[tuple[Completion, ...]] = SingleFlight()


class AskingLM(BaseLM):
    """The part of `LM` that makes requests."""

    _provider: Provider
    _wire_model: str
    _connections: Connections
    _api_key: str | None
    _backoff: Backoff
    _engine_spec: Any
    _async_engine_spec: Any
    _requests_per_minute: float | None
    _tokens_per_minute: float | None
    _price: Price | None

    async def _asked_by_one(
        self, cache: Cache, key: dict[str, Any], sent: Messages, wanted: Mapping[str, Any], options: Mapping[str, Any]
    ) -> tuple[Completion, ...]:
        """Answers that are not in the cache: asked for once, whoever else asks for them meanwhile."""

        async def ask() -> tuple[Completion, ...]:
            completions = await self._requested(sent, wanted, options)
            cost, _ = cost_of(completions, self._price)
            await cache.aput(key, completions_to_text(completions, cost=cost), NOT_IN_KEYS)
            return completions

        if settings.send_stream is not None:
            return await ask()  # each reader must see the pieces, so each asks for itself
        try:
            flight = (id(cache), cache.cache_key(key, NOT_IN_KEYS))
        except Exception:
            return await ask()  # a request without a key is not kept either
        timeout = seconds(options.get("timeout"))
        try:
            completions, shared = await _flights.run(flight, ask, patience=timeout)
        except TimeoutError as error:
            raise LMTimeoutError(
                f"An equal call that was made before gave no answer within timeout={timeout:g} s of this one.",
                model=self.model,
                provider=self._provider.name,
            ) from error
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
                logger.warning("LM response was truncated; increase max_tokens or inspect history.")
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
        """As many answers as were asked for: by request, or known to the job that runs here."""
        if METER.get() is None:
            return await self._made(sent, wanted, options)
        return await metered(
            lambda: self._cache_request(sent, wanted, options),
            lambda: self._made(sent, wanted, options),
            completions_codec(self._price),
            one_answer=bool(options.get("cache", self.cache)),
            requests=_count(options),
        )

    async def _made(
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
            timeout=seconds(options.get("timeout")),
            api=self.model_type,
        )
        count = _count(options)
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
                if error.model is None:
                    error.name_model(self.model)  # a custom engine need not know what it is called here
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
            options={k: v for k, v in merged.items() if v is not None and k not in CLIENT_OPTIONS},
            headers={**(merged.get("headers") or {}), **(merged.get("extra_headers") or {})},
            timeout=seconds(merged.get("timeout")),
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


def _count(options: Mapping[str, Any]) -> int:
    return options.get("n") or options.get("num_generations") or 1


def seconds(timeout: object) -> float:
    if timeout is None:
        return DEFAULT_TIMEOUT
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, not {timeout!r}")
    return float(timeout)
