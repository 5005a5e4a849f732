"""The engine's loggers, under the name by which the program knows the engine.

Records go to `dspex.engine.predict` and its siblings. A program that runs on the engine under the name `dspy` (see
`dspy_names.py`) has configured dspy's loggers, `dspy.predict.predict` and the like; as long as `sys.modules["dspy"]` is
the engine, that is where the records go, with dspy's levels and texts. The library configures nothing by being imported;
`enable_logging` and `disable_logging` are the switches that dspy has.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

__all__ = ["DSPY_NAMES", "EngineLogger", "configure_dspy_loggers", "disable_logging", "enable_logging", "engine_logger"]

_ENGINE = __name__.rpartition(".")[0]
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_DATE_FORMAT = "%Y/%m/%d %H:%M:%S"
_HANDLER = "dspy_handler"

DSPY_NAMES: dict[str, str] = {}
"""For each logger of the engine, the one of dspy that it stands for."""


class EngineLogger:
    """The part of `logging.Logger` that the engine uses; each record is made by the logger that is right at that time."""

    def __init__(self, name: str, dspy: str) -> None:
        self._ours = logging.getLogger(name)
        self._dspy = dspy

    @property
    def current(self) -> logging.Logger:
        """The logger that takes the next record."""
        return logging.getLogger(self._dspy) if stands_as_dspy() else self._ours

    def debug(self, message: str, *args: object, **options: Any) -> None:
        self.current.debug(message, *args, stacklevel=2, **options)

    def info(self, message: str, *args: object, **options: Any) -> None:
        self.current.info(message, *args, stacklevel=2, **options)

    def warning(self, message: str, *args: object, **options: Any) -> None:
        self.current.warning(message, *args, stacklevel=2, **options)

    def error(self, message: str, *args: object, **options: Any) -> None:
        self.current.error(message, *args, stacklevel=2, **options)


def engine_logger(name: str, *, dspy: str) -> EngineLogger:
    """The logger `name` of the engine, which is `dspy` in programs that know the engine as dspy."""
    DSPY_NAMES[name] = dspy
    return EngineLogger(name, dspy)


def stands_as_dspy() -> bool:
    """Whether `import dspy` in this process means the engine."""
    known = sys.modules.get("dspy")
    return known is not None and (known is sys.modules[_ENGINE] or getattr(known, "__dspex_engine__", False) is True)


class _Stream:
    """Writes to `sys.stderr` as it is at the time of the record, or nowhere."""

    def __init__(self) -> None:
        self.enabled = True

    def write(self, text: str) -> None:
        if self.enabled:
            sys.stderr.write(text)

    def flush(self) -> None:
        if self.enabled:
            sys.stderr.flush()


_stream = _Stream()


def configure_dspy_loggers(root_module_name: str) -> None:
    """Send the records of a logger and those below it to stderr, from INFO up, and no further. dspy does so with its own
    when it is imported; the engine leaves that to the program.
    """
    handler = logging.StreamHandler(stream=_stream)
    handler.setFormatter(logging.Formatter(fmt=_FORMAT, datefmt=_DATE_FORMAT))
    handler.set_name(_HANDLER)
    logger = logging.getLogger(root_module_name)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for existing in logger.handlers[:]:
        if existing.name == _HANDLER:
            logger.removeHandler(existing)
    logger.addHandler(handler)


def enable_logging() -> None:
    """Undo `disable_logging`."""
    _stream.enabled = True


def disable_logging() -> None:
    """Write no record of the engine to stderr. Handlers that the program has added still get them."""
    configure_dspy_loggers("dspy" if stands_as_dspy() else _ENGINE)
    _stream.enabled = False
