"""What may be asked of a pool: refused by name before anything is begun, since a message must never end the actor it is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from ..runtime import Refuse
from .messages import Streaming
from .specs import ImportedProgram, LMSettings, PoolOptions, SignatureProgram

__all__ = ["check_count", "check_program", "check_request", "check_session"]


def check_request(
    options: PoolOptions,
    program: object,
    inputs: object,
    *,
    lm: object,
    idempotent: object,
    timeout: object,
    session: object,
    streaming: object,
) -> None:
    """Refuses with TypeError or ValueError what `LegacyPool.run` cannot take."""
    _must_be(isinstance(program, str), "program", "the name of a declared program (str)", program)
    _must_be(isinstance(inputs, Mapping), "inputs", "a mapping of input fields by name", inputs)
    for name in cast("Mapping[object, object]", inputs):
        _must_be(isinstance(name, str), "inputs", "a mapping with names (str) for keys", name)
    _check_lm(options, lm)
    _must_be(idempotent is None or isinstance(idempotent, bool), "idempotent", "True, False or None", idempotent)
    if timeout is not None:
        number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
        _must_be(number, "timeout", "a number of seconds", timeout)
        if not cast("float", timeout) > 0:
            raise Refuse(ValueError(f"timeout must be more than 0 seconds, not {timeout}; None: no limit of its own"))
    _must_be(session is None or isinstance(session, str), "session", "the name of an open session (str)", session)
    _must_be(streaming is None or isinstance(streaming, Streaming), "streaming", "what open_stream makes", streaming)


def check_session(options: PoolOptions, session: object, programs: object, lm: object) -> None:
    """Refuses with TypeError or ValueError what `LegacyPool.open_session` cannot take."""
    _must_be(isinstance(session, str), "session", "a name (str)", session)
    declared: object = {} if programs is None else programs
    if not isinstance(declared, Mapping):
        raise Refuse(TypeError(f"programs must be a mapping of programs by name, not {type(declared).__name__}"))
    for name, program in cast("Mapping[object, object]", declared).items():
        check_program(options, name, program)
    _check_lm(options, lm)


def check_program(options: PoolOptions, name: object, program: object) -> None:
    """Refuses with TypeError or ValueError what is no declaration of a program."""
    _must_be(isinstance(name, str), "a program's name", "a str", name)
    _must_be(
        isinstance(program, SignatureProgram | ImportedProgram),
        f"program {name!r}",
        "a SignatureProgram(...) or an ImportedProgram(...)",
        program,
    )
    missing = [tool for tool in getattr(program, "tools", ()) if tool not in options.callables]
    if missing:
        raise Refuse(ValueError(f"program {name!r} names the tools {missing}, which are not in PoolOptions.callables"))


def check_count(name: str, value: object) -> None:
    """Refuses with TypeError what is no count."""
    _must_be(isinstance(value, int) and not isinstance(value, bool), name, "a count (int)", value)


def _check_lm(options: PoolOptions, lm: object) -> None:
    _must_be(lm is None or isinstance(lm, LMSettings), "lm", "LMSettings(...)", lm)
    if isinstance(lm, LMSettings) and lm.host and options.lm_server is None:
        raise Refuse(ValueError("lm has host=True: give PoolOptions an lm_server that answers its calls"))


def _must_be(right: bool, name: str, what: str, given: object) -> None:
    if not right:
        raise Refuse(TypeError(f"{name} must be {what}, not {type(given).__name__}"))
