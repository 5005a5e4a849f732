"""Does a saved state belong to a program? Looked at when the program is described, so that no request meets the answer.

`load_state` of either engine takes what it finds: a predictor too many is ignored, fields are paired by position, so the
state of another program can load without a word and change what the model is told. Here it is refused, with all that does
not fit at once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from ..engine import Module
from .errors import BadProgram

_PLACEHOLDER: Final = re.compile(r"\$\{(\w+)\}")


def read_state(program: str, path: str | os.PathLike[str]) -> Mapping[str, object]:
    """What `program.save("x.json")` of either engine wrote. Raises BadProgram for what is no such file.

    A program saved whole (a folder), or as a pickle, is refused: nothing is unpickled.
    """
    file = Path(path)
    if file.is_dir() or file.suffix in (".pkl", ".pickle"):
        raise BadProgram(
            program, f"{file} is a pickled program, and nothing is unpickled here: save its state, as program.save('x.json')"
        )
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadProgram(program, f"its state cannot be read from {file} ({error.strerror})") from error
    except ValueError as error:
        raise BadProgram(program, f"{file} is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise BadProgram(program, f"{file} holds a {type(found).__name__}, and a saved state is an object")
    return cast("dict[str, object]", found)


def load_fitting(program: str, made: Module, state: Mapping[str, object]) -> None:
    """Load a state into a program made for it. Raises BadProgram with everything that does not fit."""
    problems = list(misfits(made, state))
    if problems:
        raise BadProgram(program, "the saved state does not fit: " + "; ".join(problems))
    try:
        made.load_state(dict(state))
    except Exception as error:
        raise BadProgram(program, f"the saved state cannot be loaded ({type(error).__name__}: {error})") from error


def misfits(made: Module, state: Mapping[str, object]) -> Iterator[str]:
    """A sentence for each thing in a state that is not of this program."""
    parts = dict(made.named_parameters())
    given = {name: value for name, value in state.items() if name != "metadata"}
    if set(parts) == {"self"} and "self" not in given:
        given = {"self": given}  # a lone predictor writes its own state without a name
    elif "signature" in given and "signature" not in parts:
        yield f"it is the state of a lone predictor, and the program has {', '.join(map(repr, parts)) or 'none'}"
        return
    for name in sorted(parts.keys() - given.keys()):
        yield f"it has nothing for the predictor {name!r}"
    for name in sorted(given.keys() - parts.keys()):
        yield f"it has a predictor {name!r}, and the program has only {', '.join(map(repr, parts)) or 'none'}"
    for name in sorted(parts.keys() & given.keys()):
        signature = getattr(parts[name], "signature", None)
        if signature is not None:
            for problem in _misfit_signature(signature, given[name]):
                yield f"predictor {name!r}: {problem}"


def _misfit_signature(signature: Any, state: object) -> Iterator[str]:
    if not isinstance(state, dict):
        yield f"its state is a {type(state).__name__}, not an object"
        return
    known = cast("dict[str, Any]", state)
    expected = [*signature.input_fields, *signature.output_fields]
    saved = known.get("signature")
    fields: Any = saved.get("fields") if isinstance(saved, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(fields, list):
        yield "it has no signature with fields"
        return
    listed = cast("list[Any]", fields)
    if len(listed) != len(expected):
        yield f"it has {len(listed)} fields, and the program {len(expected)} ({', '.join(expected)})"
        return
    for name, field in zip(expected, listed, strict=True):
        described = str(cast("dict[str, Any]", field).get("description", "")) if isinstance(field, dict) else ""
        spoken_of = _PLACEHOLDER.fullmatch(described)
        if spoken_of is not None and spoken_of[1] != name:
            yield f"it has a field {spoken_of[1]!r} where the program has {name!r}"
    demos: list[Any] = known.get("demos") or []
    for number, demo in enumerate(demos):
        if not isinstance(demo, dict) or not any(name in demo for name in expected):
            yield f"demo {number} has none of the fields {', '.join(expected)}"
