"""Modules that say `import dspy`, run a second time, with our engine in that place.

    module = native_copy("shop.answers")       # shop/answers.py, where `dspy` is dspex.engine
    module.build()

The copy lives under a private name (`_dspex_native.shop.answers`) and has builtins of its own, whose `__import__` gives the
engine for `dspy` and for every path below it. So nothing is taken from anybody: `sys.modules["dspy"]` is not touched, the
real dspy may be loaded in the same process and be used by the same file under its own name, and threads need no care: which
`dspy` an import statement gets follows from the file it stands in, also if it stands in a function that runs later.

What a copied module imports is copied too if it says `import dspy` itself, or imports what does: siblings in its package,
and beside it on the path (elsewhere only its own package: an installed library that needs dspy gets the real one). All
else is shared with the process, so that a class of `shop.models` is the same class for the program and for its caller.
`importlib.import_module("dspy")` is a function like any other and gives the real one.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import sysconfig
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, final

from ..engine.dspy_names import engine_as_dspy

PREFIX: Final = "_dspex_native"
"""The package, of no file, below which copies are registered."""

_SHARED: Final = tuple(
    {str(Path(sysconfig.get_path(kind)).resolve()) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
)
"""Folders of the interpreter's: what lies beside a module there has nothing to do with it."""

_lock = threading.RLock()


def native_copy(name: str) -> types.ModuleType:
    """The module of this name, as a copy in which `dspy` is the engine. It is made once. May be called in any thread.

    Raises what importing it raises; ModuleNotFoundError if there is no source to run.
    """
    with _lock:
        _install()
        if _spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return importlib.import_module(f"{PREFIX}.{name}")


# --- which modules are copied -----------------------------------------------------------------------------------------


def _spec(name: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module is, found without importing its package."""
    path: Sequence[str] | None = None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        found = importlib.machinery.PathFinder.find_spec(".".join(parts[:count]), path)
        if found is None:
            return None
        if count == len(parts):
            return found
        if found.submodule_search_locations is None:
            return None
        path = list(found.submodule_search_locations)
    return None


@final
class _Sources:
    """Reads what modules import, to tell those that need dspy. Results are kept: files are read once."""

    def __init__(self) -> None:
        self._imports: dict[str, tuple[bool, frozenset[str]]] = {}

    def needs_dspy(self, name: str, near: str) -> bool:
        """Whether a module, or what it imports of its neighbourhood, says `import dspy`."""
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            each = waiting.pop()
            if each in seen:
                continue
            seen.add(each)
            says, imported = self._read(each)
            if says:
                return True
            parents = {each.rpartition(".")[0]} - {""}
            waiting += [other for other in imported | parents if _near(other, near)]
        return False

    def is_near(self, name: str, near: str) -> bool:
        """Whether a module is in the same package as another, or lies beside it."""
        top, own = name.partition(".")[0], near.partition(".")[0]
        if top == own:
            return True
        here, there = _folder(top), _folder(own)
        return here is not None and here == there and not here.startswith(_SHARED)

    def _read(self, name: str) -> tuple[bool, frozenset[str]]:
        known = self._imports.get(name)
        if known is None:
            known = self._imports[name] = self._parsed(name)
        return known

    def _parsed(self, name: str) -> tuple[bool, frozenset[str]]:
        spec = _spec(name)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            return False, frozenset()
        package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
        try:
            found = set(_imported(ast.parse(Path(spec.origin).read_bytes()), package))
        except (OSError, SyntaxError, ValueError):
            return False, frozenset()  # whoever runs it will say so
        return any(_is_dspy(each) for each in found), frozenset(found)


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node.module or "", package, node.level)
            yield base
            for alias in node.names:
                yield f"{base}.{alias.name}" if base else alias.name


def _absolute(name: str, package: str, level: int) -> str:
    if not level:
        return name
    base = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*base, name]) if name else ".".join(base)


def _is_dspy(name: str) -> bool:
    return name == "dspy" or name.startswith("dspy.")


def _folder(top: str) -> str | None:
    spec = _spec(top)
    if spec is None:
        return None
    where = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    if where is None or where in ("built-in", "frozen"):
        return None
    file = Path(where).resolve()
    return str(file.parent.parent if spec.submodule_search_locations is not None and spec.origin else file.parent)


_sources: Final = _Sources()


# --- how they are loaded ----------------------------------------------------------------------------------------------


def _import(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    """`__import__` of copied modules."""
    own = str((globals or {}).get("__name__", ""))
    package = str((globals or {}).get("__package__") or own)
    copied = f"{PREFIX}."
    near = own.removeprefix(copied)
    target = _absolute(name, package, level).removeprefix(copied)
    if _is_dspy(target):
        return _engine(target.partition(".")[2], fromlist or ())
    if not _near(target, near):
        return builtins.__import__(target, None, None, fromlist or (), 0)
    if not fromlist:
        if not _copied(target, near):
            return builtins.__import__(target)
        importlib.import_module(copied + target)
        return sys.modules[copied + target.partition(".")[0]]
    module = importlib.import_module(copied + target if _copied(target, near) else target)
    if "*" in fromlist or not hasattr(module, "__path__"):
        return module
    # Of a package, some submodules may be copies and others not: what the statement takes is laid out for it.
    tray = types.ModuleType(module.__name__)
    tray.__path__ = []
    for wanted in fromlist:
        below = f"{target}.{wanted}"
        own = vars(module).get(wanted, module)
        if isinstance(own, types.ModuleType) and _spec(below) is not None:
            setattr(tray, wanted, importlib.import_module(copied + below if _copied(below, near) else below))
        elif hasattr(module, wanted):
            setattr(tray, wanted, getattr(module, wanted))
    return tray


def _engine(path: str, fromlist: Sequence[str]) -> types.ModuleType:
    found = engine_as_dspy(path)
    for name in fromlist:
        if name != "*":
            try:
                getattr(found, name)
            except AttributeError as error:  # Python itself would not say why
                raise ImportError(f"cannot import name {name!r} from {found.__name__!r}: {error}") from error
    return found if fromlist else engine_as_dspy()


@cache
def _near(name: str, near: str) -> bool:
    return _sources.is_near(name, near)


def _copied(name: str, near: str) -> bool:
    """Whether a module is copied, as seen from the copy of `near`."""
    if f"{PREFIX}.{name}" in sys.modules:
        return True
    with _lock:
        return _near(name, near) and _sources.needs_dspy(name, near)


@final
class _Finder(importlib.abc.MetaPathFinder):
    """Finds copies, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(f"{PREFIX}."):
            return None
        name = fullname.removeprefix(f"{PREFIX}.")
        found = _spec(name)
        if found is None:
            return None
        below = found.submodule_search_locations
        with _lock:
            needed = _sources.needs_dspy(name, name)
        if below is not None and not needed:
            return importlib.util.spec_from_loader(fullname, _Window(name, list(below)), is_package=True)
        if found.origin is None or not found.origin.endswith(".py"):
            return None
        loader = _Loader(fullname, found.origin)
        return importlib.util.spec_from_file_location(
            fullname, found.origin, loader=loader, submodule_search_locations=below
        )


@final
class _Window(importlib.abc.Loader):
    """Loads a package that has copies in it and need not be one itself: it shows the package that all others see."""

    def __init__(self, name: str, below: list[str]) -> None:
        self._name = name
        self._below = below

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing is run before something is asked for that is no copy."""
        name = self._name

        def look(attribute: str) -> object:
            if attribute.startswith("__"):
                raise AttributeError(attribute)
            return getattr(importlib.import_module(name), attribute)

        module.__path__ = self._below
        vars(module)["__getattr__"] = look


@final
class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: types.ModuleType) -> None:
        vars(module)["__builtins__"] = _BUILTINS
        super().exec_module(module)


_BUILTINS: Final = types.ModuleType("builtins", builtins.__doc__)
vars(_BUILTINS).update({**vars(builtins), "__import__": _import})


def _install() -> None:
    if PREFIX not in sys.modules:
        package = types.ModuleType(PREFIX, "Modules of programs, run with dspex.engine for dspy.")
        package.__path__ = []
        sys.modules[PREFIX] = package
        sys.meta_path.insert(0, _Finder())
