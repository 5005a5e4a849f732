"""What is said over the control socket: one JSON object a line, in UTF-8, question and answer in turn.

    -> {"v": 1, "id": 7, "do": "flags.set", "changes": {"mode.qa": "shadow"}, "reason": "ticket 12"}
    <- {"v": 1, "id": 7, "ok": true, "value": {...}}
    <- {"v": 1, "id": 7, "ok": false, "error": {"kind": "bad_flags", "message": "...", "problems": ["..."]}}

``id`` comes back as it was sent. A line that is longer than `REQUEST_LIMIT` or no such object is answered with an error, and
the connection closed: what follows it cannot be trusted to begin where a line does. Nothing is unpickled or evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, cast, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

VERSION: Final = 1
"""Of the protocol. A question of another version is answered with the kind "version"."""

REQUEST_LIMIT: Final = 64 * 1024
"""Bytes of one question, its newline included."""


class BadRequest(Exception):
    """A question that cannot be answered. ``kind`` is for programs; ``fatal``: the connection is of no use any more."""

    def __init__(self, kind: str, message: str, *, id: int | str | None = None, fatal: bool = True) -> None:
        super().__init__(message)
        self.kind = kind
        self.id = id
        self.fatal = fatal


@final
class ControlRequest(BaseModel):
    """One question; anything else in it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    v: Literal[1]
    do: Literal["status", "flags.get", "flags.set", "flags.history"]
    id: int | str | None = None
    changes: Annotated[dict[str, str], Field(max_length=1000)] | None = None
    """For flags.set: by flag, or flag and key ("mode.qa"), the value as text; "" takes a key away."""
    reason: Annotated[str, Field(max_length=500)] | None = None
    """For flags.set: why, for the audit trail."""


def parse_request(line: bytes) -> ControlRequest:
    """A question from its line. Raises BadRequest."""
    try:
        said: Any = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise BadRequest("malformed", f"a line of JSON is expected ({type(error).__name__})") from error
    if not isinstance(said, dict):
        raise BadRequest("malformed", "a line holds one JSON object")
    asked = cast("dict[str, Any]", said)
    id = asked.get("id")
    known = id if isinstance(id, int | str) and not isinstance(id, bool) else None
    version: object = asked.get("v")
    if version != VERSION or isinstance(version, bool):
        message = f"this application speaks version {VERSION} of the protocol, not {_short(version)}: use its own dspex"
        raise BadRequest("version", message, id=known)
    try:
        return ControlRequest.model_validate(asked)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:10])
        raise BadRequest("malformed", problems, id=known, fatal=False) from error


def answer_line(id: int | str | None, value: Mapping[str, object]) -> bytes:
    """The line of an answer."""
    return _line({"v": VERSION, "id": id, "ok": True, "value": value})


def error_line(id: int | str | None, kind: str, message: str, **facts: object) -> bytes:
    """The line of a refusal."""
    return _line({"v": VERSION, "id": id, "ok": False, "error": {"kind": kind, "message": message, **facts}})


def _line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message, default=str).encode() + b"\n"  # JSON has no newline in it but as \n


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 20 else f"{shown[:20]}..."
