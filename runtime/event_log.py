"""The event bus, written to the host's log by structlog: opt in, one line an event, no payload.

    async with open_runtime() as rt:
        log_events(rt.events)

The library is silent otherwise. If the host has configured structlog, its configuration holds; if not, the lines go to
the standard logger ``dspex.events`` and nothing is printed unless the host set up logging. Values that are not plain
(exceptions, references, requests) are named by their type: their text may hold what users wrote.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from .events import Event, EventBus
from .exits import Crash, ExitReason, Shutdown

_LEVELS: Final = {
    "runtime.actor.crashed": logging.ERROR,
    "runtime.process.stuck": logging.ERROR,
    "supervisor.gave_up": logging.ERROR,
    "runtime.process.refused": logging.WARNING,
    "runtime.mailbox.full": logging.WARNING,
    "runtime.stage.child_failed": logging.WARNING,
    "runtime.stage.dropped": logging.WARNING,
    "runtime.state_machine.unexpected": logging.WARNING,
    "runtime.unhandled": logging.WARNING,
    "supervisor.child.terminated": logging.WARNING,
    "supervisor.child.start_failed": logging.WARNING,
    "supervisor.child.shutdown_failed": logging.WARNING,
    "legacy.request.poisoned": logging.WARNING,
    "legacy.request.retried": logging.WARNING,
    "legacy.worker.failed": logging.WARNING,
    "router.fell_back": logging.WARNING,
    "router.flags.changed": logging.WARNING,
}
"""Everything else is DEBUG: it is what happens when all is well."""


def log_events(events: EventBus, *, prefix: str = "") -> Callable[[], None]:
    """Log every event whose name begins with ``prefix``, from now on. Returns a function that ends it."""
    logger = _logger()

    def write(event: Event) -> None:
        logger.log(_LEVELS.get(event.name, logging.DEBUG), event.name, **{k: _plain(v) for k, v in event.data.items()})

    return events.subscribe(write, prefix=prefix)


def _logger() -> Any:
    import structlog

    if structlog.is_configured():
        return structlog.get_logger("dspex.events")
    # Unconfigured, structlog prints everything to stdout. Wrapping a standard logger leaves the choice to the host.
    return structlog.wrap_logger(
        logging.getLogger("dspex.events"),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Crash):
        return f"Crash({type(value.error).__name__})"
    if isinstance(value, ExitReason):
        return repr(value)
    if isinstance(value, Shutdown):
        return f"Shutdown({_plain(value.detail)})"
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return type(value).__name__
