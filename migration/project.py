"""The files that were read as a project: which file an import means.

There is no `sys.path` when nothing is executed, so an import is looked for as Python would find it from where programs
are usually started: in the folder of the file, in the folders above it, in the roots that were given and their `src`.
What is not found there is another package's, or, if its first name is one of the project's, a file that was not read.
"""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Final

from ..engine.dspy_names import PATHS
from .meanings import Module, Other, Ref, Unclear, Value, is_standard
from .scopes import ModuleInfo

__all__ = ["Project"]

_MANY: Final = 40


class Project:
    """Finds modules by their names. `modules` grows while files are read."""

    def __init__(self, files: dict[str, str]) -> None:
        """Args:
        files: every file that was found, read or not, and the root that it was found below.
        """
        self.modules: dict[str, ModuleInfo] = {}
        """By path."""
        self.broken: set[str] = set()
        """Files that could not be read; what they hold is not known."""
        self._by_place: dict[str, str] = {}
        """Path without ending (and without `/__init__`), absolute, to path."""
        self._by_tail: dict[str, list[str]] = defaultdict(list)
        self._roots: dict[str, str] = {}
        self._folders: set[str] = set()
        self._resolved: dict[tuple[str, str, int], Value] = {}
        self._attributes: dict[str, list[Value]] | None = None
        for path, root in files.items():
            if path.endswith(".ipynb"):
                continue
            place = os.path.splitext(os.path.abspath(path))[0]
            if os.path.basename(place) == "__init__":
                place = os.path.dirname(place)
            self._by_place[place] = path
            self._roots[path] = os.path.abspath(root)
            self._by_tail[os.path.basename(place)].append(place)
            folder = os.path.dirname(place)
            while folder not in self._folders and len(folder) > len(self._roots[path]):
                self._folders.add(folder)
                folder = os.path.dirname(folder)
        self._tops = {os.path.basename(place) for place in [*self._by_place, *self._folders]}

    # -- imports -----------------------------------------------------------------------------------------------------

    def resolve(self, module: ModuleInfo, name: str, level: int) -> Value:
        """What `import name`, or `from name import ...` with so many dots, means in a file."""
        key = (module.path, name, level)
        known = self._resolved.get(key)
        if known is None:
            known = self._resolved[key] = self._resolve(module, name, level)
        return known

    def _resolve(self, module: ModuleInfo, name: str, level: int) -> Value:
        if level:
            found = self.file_of(module.path, name, level)
            return self._module(found, name) if found is not None else Unclear("module", "." * level + name)
        first, _, rest = name.partition(".")
        found = None if is_standard(name) else self.file_of(module.path, name, 0)
        if first == "dspy" and found is None:
            return Ref(tuple(rest.split(".")) if rest else ())
        if found is not None:
            return self._module(found, name)
        if first == "dspex":
            return _engine(name)
        if is_standard(name):
            return Other(name)
        if first == "dsp":
            return Ref(("dsp*", *rest.split("."))) if rest else Ref(("dsp*",))
        if "dspy" in first or (first in self._tops and first not in _COMMON):
            return Unclear("module", name)
        return Other(name)

    def _module(self, path: str, name: str) -> Value:
        if path in self.broken:
            return Unclear("module", name)
        read = self.modules.get(path)
        # A file that does not mention dspy is not parsed: nothing in it is dspy's.
        return Module(read) if read is not None else Other(name)

    def file_of(self, path: str, name: str, level: int) -> str | None:
        """The file that an import in `path` means, if it was found."""
        parts = name.split(".") if name else []
        here = os.path.dirname(os.path.abspath(path))
        if level:
            for _ in range(level - 1):
                here = os.path.dirname(here)
            return self._by_place.get(os.path.join(here, *parts))
        candidates = [place for place in self._by_tail.get(parts[-1], ()) if _ends_with(place, parts)]
        best: tuple[int, str] | None = None
        for place in candidates[:_MANY]:
            base = place
            for _ in parts:
                base = os.path.dirname(base)
            inside = here == base or here.startswith(base.rstrip(os.sep) + os.sep)
            root = self._roots.get(path, here)
            if inside or base in (root, os.path.join(root, "src")) or (len(parts) > 1 and base.startswith(root)):
                score = len(base) if inside else -len(base)
                if best is None or score > best[0]:
                    best = (score, self._by_place[place])
        return best[1] if best is not None else None

    def below(self, module: ModuleInfo, name: str) -> ModuleInfo | None:
        """A module inside a package."""
        folder, file = os.path.split(os.path.abspath(module.path))
        if file != "__init__.py":
            return None
        path = self._by_place.get(os.path.join(folder, name))
        return self.modules.get(path) if path is not None else None

    def has_own_dspy(self, module: ModuleInfo) -> bool:
        """Whether `import dspy` in this file finds a module of the project."""
        return self.file_of(module.path, "dspy", 0) is not None

    # -- programs ----------------------------------------------------------------------------------------------------

    def know_attributes(self, attributes: dict[str, list[Value]]) -> None:
        """Attributes anywhere that hold programs, for objects whose class is not known."""
        self._attributes = attributes

    def programs_by_attribute(self, name: str) -> list[Value]:
        """The programs that some object has under this name."""
        return [] if self._attributes is None else self._attributes.get(name, [])


_COMMON: Final = frozenset({"tests", "test", "docs", "scripts", "examples"})


def _engine(name: str) -> Value:
    """What is converted already: the engine under its own name, as far as it stands for dspy."""
    below = name.removeprefix("dspex.engine").removeprefix(".")
    if not f"{name}.".startswith("dspex.engine."):
        return Other(name)
    if not below or below in PATHS:
        return Ref(tuple(below.split(".")) if below else ())
    return Other(name)


def _ends_with(place: str, parts: list[str]) -> bool:
    for part in reversed(parts):
        place, last = os.path.split(place)
        if last != part:
            return False
    return True
