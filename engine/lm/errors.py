"""What can go wrong between a prompt and a model's answer, as one small tree.

    LMError
    ├── LMConfigurationError          this process asked wrongly: bad parameter, unknown provider
    │   └── LMNotConfiguredError      no key, or no LM at all
    ├── LMUnsupportedFeatureError     the request needs something this client does not do (names it)
    ├── LMTransportError *            no answer reached us, or it broke off: DNS, refused, reset, TLS
    ├── LMLockTimeoutError *          a local lock was not to be had in time (custom engines)
    ├── LMCollectionLimitError        a local collector's budget is used up (custom engines)
    ├── LMUnexpectedError             an answer came, and it is not one (garbage body, broken custom LM)
    │   └── LMStreamAssemblyError     a stream ended without a whole answer; has what came of it as `partial`
    └── LMProviderError               the provider answered with an error
        ├── LMAuthError               401, 403
        ├── LMBillingError            402, or a 429 that says the quota is spent
        ├── LMRateLimitError *        429
        ├── LMTimeoutError *          408, 504, or no answer within the time allowed
        ├── LMServerError *           other 5xx, and 529
        └── LMInvalidRequestError     400, 404, 409, 413, 422
            ├── ContextWindowExceededError   the prompt is too long for the model
            └── LMUnsupportedModelError      the provider does not know this model

`*` marks what a second attempt may cure; `is_retryable_lm_error` is that mark as a function. Names and grouping are
those of dspy 3.4, so that `except dspy.LMRateLimitError` keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..failure import EngineError

__all__ = [
    "ContextWindowExceededError",
    "LMAuthError",
    "LMBillingError",
    "LMCollectionLimitError",
    "LMConfigurationError",
    "LMError",
    "LMInvalidRequestError",
    "LMLockTimeoutError",
    "LMNotConfiguredError",
    "LMProviderError",
    "LMRateLimitError",
    "LMServerError",
    "LMStreamAssemblyError",
    "LMTimeoutError",
    "LMTransportError",
    "LMUnexpectedError",
    "LMUnsupportedFeatureError",
    "LMUnsupportedModelError",
    "is_retryable_lm_error",
]


class LMError(EngineError):
    """Any failure of a language model call. Cancellation is not one and passes through untouched."""

    default_code = "lm_error"

    def name_model(self, model: str) -> None:
        """Say which model it was, for an error that was made where that is not known."""
        self.model: str | None = model
        self.args = (f"[{model}] {self.message}".rstrip(),)


class LMTransportError(LMError):
    """No response reached us: name resolution, refused or reset connection, TLS. Retried."""

    default_code = "transport"


class LMConfigurationError(LMError):
    """The LM was described wrongly in this process; no request was made."""

    default_code = "configuration"


class LMNotConfiguredError(LMConfigurationError):
    """A credential (or the LM itself) is missing; no request was made."""

    default_code = "not_configured"


class LMUnsupportedFeatureError(LMError):
    """The request needs something this client does not offer; nothing was sent and nothing dropped.

    `features` lists what was asked for, such as `["tools"]`; `issues` says why, where there is more to say.
    """

    default_code = "unsupported_feature"

    def __init__(
        self,
        message: str = "",
        *,
        features: Sequence[str] | None = None,
        feature: str | None = None,
        issues: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.features: list[str] = list(features) if features else ([feature] if feature is not None else [])
        self.feature = feature if feature is not None else (self.features[0] if self.features else None)
        self.issues: list[str] = list(issues or ())
        super().__init__(message, **kwargs)


class LMUnexpectedError(LMError):
    """Something answered, and not with what the protocol promises. Not retried: asking again gets the same."""

    default_code = "unexpected"


class LMStreamAssemblyError(LMUnexpectedError):
    """A stream ended and what came is no whole answer. It is not cached, and not a success.

    Attributes:
        partial: what there is of the answer, or None.
        part_index: the part that is not whole, where that is known.
    """

    default_code = "stream_assembly"

    def __init__(
        self, message: str = "", *, partial: object = None, part_index: int | None = None, **kwargs: Any
    ) -> None:
        self.partial = partial
        self.part_index = part_index
        super().__init__(message, **kwargs)


class LMLockTimeoutError(LMError):
    """A lock on this machine was held for too long by someone else; no provider was asked. Retried."""

    default_code = "lock_timeout"

    def __init__(self, message: str = "", *, path: str = "", lock_path: str = "", **kwargs: Any) -> None:
        self.path = path
        self.lock_path = lock_path
        super().__init__(message, **kwargs)


class LMCollectionLimitError(LMError):
    """A collector on this machine reached its budget. Not retried: the next answer would be as large.

    Its data are those of `source`, the error that reported it, read when asked for.
    """

    default_code = "collection_limit"

    def __init__(self, message: str = "", *, source: object = None, **kwargs: Any) -> None:
        self._source = source
        self.limit = getattr(source, "limit", None)
        self.maximum = getattr(source, "maximum", None)
        self.retained_bytes = getattr(source, "retained_bytes", 0)
        self.retained_events = getattr(source, "retained_events", 0)
        self.partial_events = getattr(source, "partial_events", ())
        self.rejected_event = getattr(source, "rejected_event", None)
        super().__init__(message, **kwargs)

    @property
    def partial(self) -> object:
        """What was collected before the limit, or None."""
        return getattr(self._source, "partial", None)


class LMProviderError(LMError):
    """The provider answered with an error that has no more exact class here."""

    default_code = "provider"


class LMAuthError(LMProviderError):
    """The provider refused the credential (401) or what it may do (403)."""

    default_code = "auth"


class LMBillingError(LMProviderError):
    """The account cannot pay: 402, or a 429 that says the quota is spent. Waiting does not help."""

    default_code = "billing"


class LMRateLimitError(LMProviderError):
    """Too many requests (429). `retry_after` says how many seconds the provider asked to wait, if it did. Retried."""

    default_code = "rate_limit"


class LMInvalidRequestError(LMProviderError):
    """The provider refused the request itself; the same request is refused again."""

    default_code = "invalid_request"


class ContextWindowExceededError(LMInvalidRequestError):
    """Prompt and answer together do not fit the model. Shorten demos, history or context."""

    default_code = "context_window_exceeded"

    def __init__(
        self,
        message: str = "Context window exceeded",
        *,
        code: str | None = None,
        model: str | None = None,
        provider: str | None = None,
        provider_code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            message,
            code=code,
            model=model,
            provider=provider,
            provider_code=provider_code,
            status=status,
            request_id=request_id,
            retry_after=retry_after,
        )


class LMUnsupportedModelError(LMInvalidRequestError):
    """The provider does not serve this model to this account."""

    default_code = "unsupported_model"


class LMTimeoutError(LMProviderError):
    """No answer in time: the server said so (408, 504), or our own deadline passed. Retried while time is left."""

    default_code = "timeout"


class LMServerError(LMProviderError):
    """The provider failed on its side (5xx, or overloaded). Retried."""

    default_code = "server"


_RETRYABLE = (LMRateLimitError, LMTimeoutError, LMServerError, LMTransportError, LMLockTimeoutError)


def is_retryable_lm_error(error: BaseException) -> bool:
    """True when the same request may succeed later. It does not promise that the provider did no work."""
    return isinstance(error, _RETRYABLE)
