"""The root of every error the engine raises: one exception that carries data.

An engine error says what failed and what to do next in its message, and carries where it came from as attributes, so
that a retry policy, a router or a log reads fields instead of parsing text. The whole tree is drawn in
`dspex.engine.errors`; this file holds only the root, because every sub-room needs it and imports must point down.
"""

from __future__ import annotations

__all__ = ["EngineError"]


class EngineError(Exception):
    """Base of the engine's errors (dspy calls it `DSPyError`).

    Attributes:
        message: what went wrong and what to do about it, without the model prefix that `str()` adds.
        code: stable short name of the error class, for metrics and logs; None for this class itself.
        model: the model asked, as written in `LM(...)`; None when no model is involved.
        provider: the provider asked, such as "openai".
        provider_code: the provider's own error code, when it sent one.
        status: HTTP status, when there was an HTTP response.
        request_id: the provider's id of the request, for its support desk.
        retry_after: seconds the provider asked to wait before the next attempt.
    """

    default_code: str | None = None

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        model: str | None = None,
        provider: str | None = None,
        provider_code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = message
        self.code = code or self.default_code
        self.model = model
        self.provider = provider
        self.provider_code = provider_code
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        prefix = f"[{model}] " if model else ""
        super().__init__(f"{prefix}{message}".rstrip())
