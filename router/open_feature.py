"""Flags held by an OpenFeature provider: whoever runs a flag service already decides there.

    openfeature.api.set_provider(my_provider, domain="dspex")
    Router(programs, flags, chooser=OpenFeatureChooser())

For each request the string flag ``dspex.engine.<program>`` is asked, with the request's key as the targeting key:
"native" or "legacy" decides; anything else, and an error of the provider, leaves it to the flags of the store. Those flags
too may come from the provider: see ``OpenFeatureFlags``.

Events:

    router.flags.provider_read       domain               what it says holds
    router.flags.provider_refused    domain, problems     what it says cannot hold, or it failed; the flags stay as they are
"""

from __future__ import annotations

import importlib
from dataclasses import fields
from typing import Any, Final, Protocol, final

import anyio.to_thread

from ..engine import MissingExtra
from ..runtime import Actor
from .errors import BadFlags
from .flags import PER_PROGRAM, Flags, FlagStore
from .request import Engine

FLAG: Final = "dspex.engine."


class Chooser(Protocol):
    """Somebody who may decide before the flags do. Called on the event loop for each request: it must not block."""

    def choose(self, program: str, key: str | None) -> tuple[Engine, str] | None:
        """The engine and the reason in words; None: no opinion."""
        ...


def choice(chooser: Chooser, program: str, key: str | None) -> tuple[Engine, str] | None:
    """What a chooser says. Raises what it raises, and ValueError or TypeError for what is no choice."""
    chosen = chooser.choose(program, key)
    if chosen is None:
        return None
    engine, reason = chosen
    if engine not in ("native", "legacy"):
        raise ValueError(f'a chooser says ("native" or "legacy", reason), or None, not {chosen!r}')
    return engine, str(reason)


def _api() -> Any:
    try:
        return importlib.import_module("openfeature.api")  # untyped, and an extra
    except ImportError:
        raise MissingExtra("openfeature", module="openfeature", purpose="flags of an OpenFeature provider") from None


@final
class OpenFeatureChooser:
    """Asks the provider of an OpenFeature domain. Raises MissingExtra without the package ``openfeature-sdk``."""

    def __init__(self, domain: str = "dspex") -> None:
        # A domain of its own: the API object is one for the whole process.
        self._client: Any = _api().get_client(domain=domain)
        context: Any = importlib.import_module("openfeature.evaluation_context")
        self._context: Any = context.EvaluationContext

    def choose(self, program: str, key: str | None) -> tuple[Engine, str] | None:
        """See ``Chooser``."""
        name = FLAG + program
        value = self._client.get_string_value(name, "", self._context(targeting_key=key))
        if value == "native" or value == "legacy":
            return value, f"OpenFeature {name}={value!r}"
        return None


@final
class OpenFeatureFlags(Actor):
    """Takes the flags themselves from an OpenFeature provider: what it says holds, from ``init`` on.

        Dspex(..., beside=[Child("flags", lambda: OpenFeatureFlags(flags))])

    The flag ``dspex.<name>`` is asked for each flag of ``Flags``: a boolean, a text, or an object for those that are
    tables. A flag that the provider does not have stays as it is. It is asked every ``interval`` seconds, in a thread.
    What cannot hold, and a provider that fails, changes nothing; it is an event, once for each state of the provider.
    """

    def __init__(self, store: FlagStore, domain: str = "dspex", *, interval: float = 5.0) -> None:
        if not interval > 0:
            raise ValueError(f"OpenFeatureFlags asks every interval > 0 seconds, not {interval!r}")
        self._store = store
        self._domain = domain
        self._interval = interval
        self._client: Any = _api().get_client(domain=domain)
        self._seen: object = None

    async def init(self) -> None:
        """Ask. A provider that is not ready keeps nobody from starting: the flags are then as they were."""
        await self.look()
        self.task(self._watch)

    async def _watch(self) -> None:
        while True:
            await self.rt.sleep(self._interval)
            await self.look()

    async def look(self) -> None:
        """Ask now."""
        values, problems = await anyio.to_thread.run_sync(self._ask)
        if (values, problems) == self._seen:
            return
        self._seen = (values, problems)
        if not problems:
            try:
                self._store.set(by=f"OpenFeature {self._domain}", **values)
            except BadFlags as error:
                problems = list(error.problems)
        if problems:
            self.rt.events.emit("router.flags.provider_refused", domain=self._domain, problems=tuple(problems))
        else:
            self.rt.events.emit("router.flags.provider_read", domain=self._domain)

    def _ask(self) -> tuple[dict[str, Any], list[str]]:
        values: dict[str, Any] = {}
        problems: list[str] = []
        for flag in fields(Flags):
            name = f"dspex.{flag.name}"
            if flag.name in PER_PROGRAM:
                details: Any = self._client.get_object_details(name, {})
            elif flag.name == "shadow_serves":
                details = self._client.get_string_details(name, "")
            else:
                details = self._client.get_boolean_details(name, False)
            code = str(getattr(details.error_code, "value", details.error_code))
            if details.error_code is None:
                values[flag.name] = details.value
            elif code != "FLAG_NOT_FOUND":
                problems.append(f"{name}: {details.error_message or code}")
        return values, problems
