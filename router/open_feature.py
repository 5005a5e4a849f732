"""Flags held by an OpenFeature provider: whoever runs a flag service already decides there.

    openfeature.api.set_provider(my_provider, domain="dspex")
    Router(programs, flags, chooser=OpenFeatureChooser())

For each request the string flag ``dspex.engine.<program>`` is asked, with the request's key as the targeting key:
"native" or "legacy" decides; anything else, and an error of the provider, leaves it to the flags of the store.
"""

from __future__ import annotations

import importlib
from typing import Any, Final, Protocol, final

from ..engine import MissingExtra
from .request import Engine

FLAG: Final = "dspex.engine."


class Chooser(Protocol):
    """Somebody who may decide before the flags do. Called on the event loop for each request: it must not block."""

    def choose(self, program: str, key: str | None) -> tuple[Engine, str] | None:
        """The engine and the reason in words; None: no opinion."""
        ...


@final
class OpenFeatureChooser:
    """Asks the provider of an OpenFeature domain. Raises MissingExtra without the package ``openfeature-sdk``."""

    def __init__(self, domain: str = "dspex") -> None:
        try:
            api: Any = importlib.import_module("openfeature.api")  # untyped, and an extra
            context: Any = importlib.import_module("openfeature.evaluation_context")
        except ImportError:
            raise MissingExtra("openfeature", module="openfeature", purpose="flags of an OpenFeature provider") from None
        # A domain of its own: the API object is one for the whole process.
        self._client: Any = api.get_client(domain=domain)
        self._context: Any = context.EvaluationContext

    def choose(self, program: str, key: str | None) -> tuple[Engine, str] | None:
        """See ``Chooser``."""
        name = FLAG + program
        value = self._client.get_string_value(name, "", self._context(targeting_key=key))
        if value == "native" or value == "legacy":
            return value, f"OpenFeature {name}={value!r}"
        return None
