"""A program's learned state as a JSON file, readable by dspy 3.4 and by us, whoever wrote it.

The layout is dspy's: one entry per predictor (demos, signature text, LM), and `metadata` with the versions. dspy
matches fields by position and never checks them; we add `metadata.dspex` with the field names, and say so when a file
is loaded into a program that has others. Only JSON is offered: dspy's pickle forms run code from the file on load.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pydantic_core
from pydantic import BaseModel

from .failure import EngineError
from .logs import engine_logger
from .pickles import PickleRefused

__all__ = [
    "StateFileError",
    "StateMismatchError",
    "get_dependency_versions",
    "load",
    "read_state",
    "serializable",
    "write_state",
]

logger = engine_logger("dspex.engine.state", dspy="dspy.primitives.base_module")

# dspy looks up exactly these three and fails on a fourth. The dspy version is the one whose layout we write;
# cloudpickle is not used here and is named as dspy 3.4.1's own environment names it, to give dspy nothing to warn of.
_DEPENDENCY_VERSIONS = {
    "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    "dspy": "3.4.1",
    "cloudpickle": "3.1",
}


class StateMismatchError(EngineError, KeyError):
    """A saved state does not fit the program it is loaded into. The program is unchanged."""

    default_code = "state_mismatch"

    def __str__(self) -> str:
        return self.message  # KeyError would show the repr


class StateFileError(EngineError, ValueError, KeyError):
    """A file is not a saved state."""

    default_code = "state_file"

    def __str__(self) -> str:
        return self.message


def get_dependency_versions() -> dict[str, str]:
    """What a state file says of the environment it was written in."""
    return dict(_DEPENDENCY_VERSIONS)


def load(path: str | os.PathLike[str], allow_pickle: bool = False) -> Any:
    """dspy's loader of whole programs, which are pickles: always refused here.

    Raises:
        PickleRefused: (a ValueError) always.
    """
    if not allow_pickle:
        raise PickleRefused(
            "Loading with pickle is not allowed. Please set `allow_pickle=True` if you are sure you trust the source of the "
            "model. (dspex.engine does not load pickles at all: run this one in dspy itself, save its state as .json and "
            "load that with `program.load(...)`.)"
        )
    raise PickleRefused(
        f"dspex.engine does not load whole programs ({path}), which are pickles: loading one runs code from the file. Build "
        "the program in code and load its .json state."
    )


def serializable(value: Any) -> Any:
    """`value` with pydantic models as JSON-ready data, also inside lists, tuples and dicts."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list):
        return [serializable(item) for item in cast("list[Any]", value)]
    if isinstance(value, tuple):
        return tuple(serializable(item) for item in cast("tuple[Any, ...]", value))
    if isinstance(value, dict):
        return {key: serializable(item) for key, item in cast("dict[Any, Any]", value).items()}
    return value


def write_state(path: str | os.PathLike[str], state: Mapping[str, Any], *, fields: Mapping[str, list[str]]) -> None:
    """Write `state` to `path`, whole or not at all.

    Args:
        fields: the field names of each predictor, in the order of its saved fields.

    Raises:
        ValueError: `path` does not end with .json.
        RuntimeError: a value cannot be written as JSON; an existing file is left as it was.
    """
    target = _json_path(path, when=" when `save_program=False`")
    metadata = {"dependency_versions": _DEPENDENCY_VERSIONS, "dspex": {"format": 1, "fields": dict(fields)}}
    try:
        content = pydantic_core.to_json({**state, "metadata": metadata}, indent=2, inf_nan_mode="null") + b"\n"
    except pydantic_core.PydanticSerializationError as error:
        raise RuntimeError(
            f"Failed to save state to {target} with error: {error}. Your DSPy program may contain non json-serializable "
            "objects: a demo holds a value that JSON cannot. Convert it to text, numbers, lists and dicts."
        ) from error
    # Written beside the target and moved over it: a reader sees the old file or the new one, never half of one.
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_state(path: str | os.PathLike[str], *, fields: Mapping[str, list[str]]) -> dict[str, Any]:
    """Read a state file. Differences of version or of field names are logged as warnings, as dspy logs versions.

    Args:
        fields: the field names of the program that will take the state.

    Raises:
        ValueError: `path` does not end with .json, or the file is not a state file.
        OSError: the file cannot be read.
    """
    source = _json_path(path)
    content = source.read_bytes()
    try:
        state: Any = pydantic_core.from_json(content)
        metadata: Any = state["metadata"]
        versions: Any = dict(metadata["dependency_versions"])
    except (ValueError, KeyError, TypeError) as error:
        raise StateFileError(
            f"{source} is not a saved state: it must be JSON with metadata.dependency_versions ({error})."
        ) from error
    for name, saved in versions.items():
        ours = _DEPENDENCY_VERSIONS.get(name)
        if name != "cloudpickle" and ours is not None and ours != saved:
            logger.warning(
                f"There is a mismatch of {name} version between saved model and current environment. "
                f"You saved with `{name}=={saved}`, but now you have `{name}=={ours}`. This might cause errors or "
                "performance downgrade on the loaded model, please consider loading the model in the same environment as "
                "the saving environment."
            )
    ours_too: Any = metadata.get("dspex") or {}
    saved_fields: Mapping[str, list[str]] = ours_too.get("fields") or {}
    for name, expected in fields.items():
        saved = saved_fields.get(name)
        if saved is not None and saved != expected:
            logger.warning(
                "Predictor %r was saved with the fields %s and is loaded into one with %s. Field texts are matched by "
                "position: check that this is the program that was saved.",
                name,
                saved,
                expected,
            )
    return cast("dict[str, Any]", state)


def _json_path(path: str | os.PathLike[str], *, when: str = "") -> Path:
    made = Path(path)
    if made.suffix not in (".json", ".pkl"):
        raise ValueError(
            f"`path` must end with `.json` or `.pkl`{when}, but received: {path}. (dspex.engine writes and reads .json only.)"
        )
    if made.suffix == ".pkl":
        raise PickleRefused(
            "Loading .pkl files can run arbitrary code, which may be dangerous. Prefer saving with .json files if possible. "
            f"(dspex.engine neither writes nor reads pickles, whatever `allow_pickle` says: {path}.)"
        )
    return made
