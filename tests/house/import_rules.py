"""Reads the imports of every module of the package and says which of them break the rules of the house.

The rules, from the architecture: an import points down (`FLOORS`), never up, never between two rooms of one floor, and
never in a circle; imports inside the package are relative; SDKs and `dspy` stay where they belong. All imports count:
at the top, in functions, under TYPE_CHECKING, and `import_module("...")` with a literal name.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FLOORS = {"runtime": 10, "supervisors": 15, "engine": 20, "legacy": 20, "router": 30, "migration": 40, "cli": 50}
"""By room; the package's own `__init__` is above all. Two rooms of the same floor do not import each other."""

FACE = 60

ANYIO = frozenset({"anyio", "sniffio", "trio"})
DATA = frozenset({"httpx", "json_repair", "pydantic", "pydantic_core"})
ALLOWED = {
    "runtime": ANYIO | {"structlog"},
    "runtime/testing": ANYIO | {"pytest"},
    "supervisors": ANYIO,
    "engine": ANYIO | DATA | {"numpy", "opentelemetry"},
    "engine/evaluation": ANYIO | DATA | {"IPython"},
    "engine/optimizers": ANYIO | DATA | {"gepa", "numpy", "optuna", "yaml"},
    "engine/retrieval": ANYIO | DATA | {"bm25s", "faiss", "numpy"},
    "engine/types": ANYIO | DATA | {"jsonschema", "PIL", "soundfile"},
    "engine/lm": ANYIO | DATA | {"openai", "anthropic", "numpy", "xllamacpp"},
    "legacy": ANYIO | DATA | {"opentelemetry", "orjson"},
    "legacy/worker": frozenset({"dspy", "numpy", "orjson", "pydantic"}),  # the others come with dspy, or with an array
    "router": ANYIO | DATA | {"hdrh", "openfeature", "opentelemetry", "prometheus_client", "yaml"},
    "migration": ANYIO | DATA | {"libcst"},
    "cli": ANYIO | DATA | {"click", "rich"},
    "": ANYIO,
}
"""Third parties by folder, the nearest entry counts."""

ON_FIRST_USE = frozenset(
    {
        *("IPython", "PIL", "anthropic", "bm25s", "click", "dspy", "faiss", "gepa", "hdrh", "jsonschema", "libcst"),
        *("numpy", "openai", "openfeature", "opentelemetry", "optuna"),
        *("prometheus_client", "pytest", "rich", "soundfile", "structlog", "trio", "xllamacpp", "yaml"),
    }
)
"""Third parties imported inside functions only (or for the type checker), because they are optional or slow."""

LOADED_WHEN_PRESENT = frozenset(
    {
        ("cli/main.py", "click"),
        ("cli/check.py", "click"),
        ("cli/compare.py", "click"),
        ("cli/control_client.py", "click"),
        ("cli/convert.py", "click"),
        ("cli/doctor.py", "click"),
        ("cli/ending.py", "click"),
        ("cli/flags.py", "click"),
        ("cli/plan.py", "click"),
        ("cli/run.py", "click"),
        ("cli/status.py", "click"),
        ("runtime/backend/on_trio.py", "trio"),
        ("runtime/testing/fixtures.py", "pytest"),  # a plugin of pytest's
    }
)
"""Modules that are themselves imported on first use may import theirs at the top."""

ALONE = ("legacy/worker/", "engine/sandbox/inside/")
"""Run by path, the first under any interpreter: they import nothing of the package outside themselves."""


@dataclass(frozen=True)
class Import:
    """One import: `target` is a module of the package ("runtime.actor", "" for the root) or of somebody else."""

    line: int
    target: str
    ours: bool
    eager: bool
    """Runs when the module is imported."""
    absolute: bool


def package_modules(root: Path) -> dict[str, Path]:
    """Every module of the package: dotted name below it ("" for its `__init__`) to file."""
    found = {"": root / "__init__.py"} if (root / "__init__.py").exists() else {}
    for room in sorted(path.parent for path in root.glob("*/__init__.py")):
        for file in sorted(room.rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def violations(root: Path) -> list[str]:
    """Every broken rule, as "file:line: what"; empty when the house is in order."""
    modules = package_modules(root)
    imports = {name: list(imports_of(name, file, modules)) for name, file in modules.items()}
    broken: list[str] = []
    for name, file in modules.items():
        where = file.relative_to(root).as_posix()
        for found in imports[name]:
            broken += [f"{where}:{found.line}: {what}" for what in _faults(name, where, found, modules)]
    broken = list(dict.fromkeys(broken))  # `from x import a, b` is two imports and one fault
    broken += [f"circle: {' -> '.join(circle)}" for circle in circles(imports)]
    return broken


def _faults(name: str, where: str, found: Import, modules: dict[str, Path]) -> Iterator[str]:
    if found.ours:
        if found.absolute:
            yield f"import dspex.{found.target} is absolute: inside the package imports are relative"
        if found.target not in modules:
            yield f"there is no module {found.target!r}"
        mine, theirs = _room(name), _room(found.target)
        if mine != theirs and _floor(theirs) >= _floor(mine):
            yield f"{mine or 'dspex'} must not import {theirs or 'dspex'}: imports point down"
        alone = next((folder for folder in ALONE if where.startswith(folder)), None)
        if alone is not None and not f"{found.target}.".startswith(alone.replace("/", ".")):
            yield f"{alone} must not import {found.target or 'dspex'}: it runs alone"
        return
    if found.target in sys.stdlib_module_names:
        return
    if found.target not in _allowed(where):
        yield f"{found.target} must not be imported here"
    if found.eager and found.target in ON_FIRST_USE and (where, found.target) not in LOADED_WHEN_PRESENT:
        yield f"{found.target} is imported on first use only: inside a function"


def _room(name: str) -> str:
    return name.partition(".")[0]


def _floor(room: str) -> int:
    return FLOORS.get(room, FACE)


def _allowed(where: str) -> frozenset[str]:
    folders = [parent.as_posix() for parent in Path(where).parents]
    return next((ALLOWED[folder] for folder in folders if folder in ALLOWED), ALLOWED[""])


def imports_of(name: str, file: Path, modules: dict[str, Path]) -> Iterator[Import]:
    """All imports of a module, resolved."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node, eager in _walk(ast.parse(file.read_text(encoding="utf-8")), eager=True):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield _absolute(alias.name, node.lineno, eager)
        elif isinstance(node, ast.ImportFrom):
            base = _base(package, node)
            if base is None:
                yield _absolute(node.module or "", node.lineno, eager)
                continue
            for alias in node.names:
                inner = f"{base}.{alias.name}" if base else alias.name
                yield Import(node.lineno, inner if inner in modules else base, True, eager, False)
        elif isinstance(node, ast.Call) and (target := _by_name(node)) is not None:
            if target.startswith("."):
                yield Import(node.lineno, _relative(package, target), True, eager, False)
            else:
                yield _absolute(target, node.lineno, eager)


def _walk(tree: ast.AST, *, eager: bool) -> Iterator[tuple[ast.AST, bool]]:
    for node in ast.iter_child_nodes(tree):
        yield node, eager
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            inside = True
        yield from _walk(node, eager=eager and not inside)


def _absolute(target: str, line: int, eager: bool) -> Import:
    top, _, rest = target.partition(".")
    if top == "dspex":
        return Import(line, rest, True, eager, True)
    return Import(line, top, False, eager, True)


def _base(package: str, node: ast.ImportFrom) -> str | None:
    return _relative(package, "." * node.level + (node.module or "")) if node.level else None


def _relative(package: str, target: str) -> str:
    level = len(target) - len(target.lstrip("."))
    parts = package.split(".") if package else []
    kept = parts[: len(parts) - level + 1]
    return ".".join([*kept, *filter(None, target.lstrip(".").split("."))])


def _by_name(node: ast.Call) -> str | None:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called in {"import_module", "__import__"} and node.args and isinstance(node.args[0], ast.Constant):
        value = node.args[0].value
        return value if isinstance(value, str) else None
    return None


def circles(imports: dict[str, list[Import]]) -> list[list[str]]:
    """Import circles, each once, as the path that closes it."""
    edges = {name: sorted({one.target for one in found if one.ours}) for name, found in imports.items()}
    state: dict[str, int] = {}
    path: list[str] = []
    closed: list[list[str]] = []

    def visit(name: str) -> None:
        state[name] = 1
        path.append(name)
        for target in edges.get(name, ()):
            if target == name or target not in edges:
                continue
            if state.get(target) == 1:
                closed.append([*path[path.index(target) :], target])
            elif target not in state:
                visit(target)
        path.pop()
        state[name] = 2

    for name in edges:
        if name not in state:
            visit(name)
    return closed
