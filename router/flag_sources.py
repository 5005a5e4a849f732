"""Flags from outside the code: the environment, a file that is watched, an OpenFeature provider.

    read_environment(flags)                                    # DSPEX_FLAG_USE_NATIVE_PREDICTORS=false
    Child("flag-file", lambda: FlagFile(flags, "flags.toml"))  # re-read when it changes

A file holds the flags by their names, a table where a flag is per program:

    use_native_predictors = true
    [native_percent]
    qa = 25
    [mode]
    mood = "shadow"
    [features]
    react = "legacy"
    [require]
    qa = "p95<2s"

Events:

    router.flags.file_read       path               what it says holds
    router.flags.file_refused    path, problems     it is broken or gone; the flags stay as they are
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, cast, final

import anyio.to_thread

from ..runtime import Actor
from .errors import BadFlags
from .flags import PER_PROGRAM, Flags, FlagStore

PREFIX: Final = "DSPEX_FLAG_"
_YES: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def flags_from_mapping(values: Mapping[str, Any], base: Flags | None = None) -> Flags:
    """``base`` with these flags. Raises BadFlags with all problems at once; unknown flags are one."""
    return (base or Flags()).changed(values)


def flags_from_environment(environ: Mapping[str, str] | None = None, base: Flags | None = None) -> Flags:
    """Read every variable that begins with ``DSPEX_FLAG_``, followed by the flag's name in capitals.

    A flag that is per program is written ``qa=25,mood=50``. Raises BadFlags, also for a variable that names no flag.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for variable, text in sorted((os.environ if environ is None else environ).items()):
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        try:
            values[name] = _read(name, text)
        except ValueError as error:
            problems.append(f"{variable}: {error}")
    try:
        made = flags_from_mapping(values, base)
    except BadFlags as error:
        raise BadFlags([*problems, *error.problems]) from None
    if problems:
        raise BadFlags(problems)
    return made


def read_environment(store: FlagStore, environ: Mapping[str, str] | None = None) -> Flags:
    """Make what the environment says hold in a store; on record as a change by "environment". Raises BadFlags."""
    return store.replace(flags_from_environment(environ, store.current), by="environment")


def _read(name: str, text: str) -> Any:
    if name in PER_PROGRAM:
        entries: dict[str, Any] = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            program, equals, value = entry.partition("=")  # the first: "qa=p95<2s" has no other
            if not equals:
                raise ValueError(f"{entry!r} is no program=value")
            entries[program.strip()] = float(value) if name == "native_percent" else value.strip()
        return entries
    return _YES.get(text.strip().lower(), text)


def flags_from_file(path: str | os.PathLike[str], base: Flags | None = None) -> Flags:
    """Read a .toml, .json or .yaml file (YAML needs the extra ``yaml``). Raises BadFlags for whatever is wrong with it.

    Blocks while it reads. Raises FileNotFoundError if there is none.
    """
    file = Path(path)
    try:
        values = _parsed(file, file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise BadFlags([f"{file} cannot be read: {error}"]) from error
    if values is None:  # an empty YAML file
        values = {}
    if not isinstance(values, dict):
        raise BadFlags([f"{file} holds flags by their names, not one {type(values).__name__}"])
    named = {str(name): value for name, value in cast("dict[object, Any]", values).items()}
    return flags_from_mapping(named, base)


def _parsed(file: Path, text: str) -> object:
    if file.suffix == ".toml":
        return tomllib.loads(text)
    if file.suffix == ".json":
        return json.loads(text)
    if file.suffix in (".yaml", ".yml"):
        try:
            import yaml
        except ImportError:
            raise ValueError('reading YAML needs the extra "yaml": pip install "dspex[yaml]", or write TOML') from None
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
    raise ValueError(f"{file.suffix or 'no ending'} is none of .toml, .json, .yaml")


@final
class FlagFile(Actor):
    """Watches a file of flags: what it says holds, from ``init`` on and after each change of the file.

    It looks every ``interval`` seconds. A broken or missing file changes nothing; it is an event, once for each state of
    the file. Flags that the file does not name have the values of ``base``, by default those of ``Flags()``; flags set by
    code in between hold until the file changes again.
    """

    def __init__(
        self, store: FlagStore, path: str | os.PathLike[str], *, interval: float = 1.0, base: Flags | None = None
    ) -> None:
        if not interval > 0:
            raise ValueError(f"FlagFile looks every interval > 0 seconds, not {interval!r}")
        self._store = store
        self._path = Path(path)
        self._interval = interval
        self._base = base
        self._seen: object = None

    async def init(self) -> None:
        """Read the file. Raises BadFlags if it is broken: a service does not start with flags nobody meant."""
        self._seen = await anyio.to_thread.run_sync(self._state)
        self._store.replace(await anyio.to_thread.run_sync(flags_from_file, self._path, self._base), by=self._by)
        self.rt.events.emit("router.flags.file_read", path=str(self._path))
        self.task(self._watch)

    @property
    def _by(self) -> str:
        return f"file {self._path.name}"

    async def _watch(self) -> None:
        while True:
            await self.rt.sleep(self._interval)
            await self.look()

    async def look(self) -> None:
        """Look now."""
        state = await anyio.to_thread.run_sync(self._state)
        if state == self._seen:
            return
        self._seen = state
        try:
            flags = await anyio.to_thread.run_sync(flags_from_file, self._path, self._base)
            self._store.replace(flags, by=self._by)
        except (BadFlags, OSError) as error:
            problems = error.problems if isinstance(error, BadFlags) else (str(error),)
            self.rt.events.emit("router.flags.file_refused", path=str(self._path), problems=problems)
        else:
            self.rt.events.emit("router.flags.file_read", path=str(self._path))

    def _state(self) -> object:
        try:
            status = self._path.stat()
        except OSError as error:
            return type(error).__name__
        return status.st_mtime_ns, status.st_size, status.st_ino


def flag_names() -> tuple[str, ...]:
    """The flags there are."""
    return tuple(f.name for f in fields(Flags))
