"""The rules of the house hold in the tree, and the checker notices when they do not."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from import_rules import FLOORS, imports_of, package_modules, violations

ROOT = Path(__file__).parents[2]
MODULES = package_modules(ROOT)
FACES = [name for name, file in MODULES.items() if file.name == "__init__.py"]


def test_the_package_keeps_the_rules_of_import() -> None:
    assert violations(ROOT) == []


def test_every_room_has_a_floor() -> None:
    rooms = {name.partition(".")[0] for name in MODULES} - {""}
    assert {"runtime", "supervisors", "engine", "legacy", "router"} <= rooms <= set(FLOORS)


def house(root: Path, files: dict[str, str]) -> Path:
    """A package with all rooms and these files: `{"runtime/actor": source}`."""
    for room in ("runtime", "supervisors", "engine", "engine/lm", "legacy", "legacy/worker", "router"):
        (root / room).mkdir()
        (root / room / "__init__.py").write_text("")
    (root / "__init__.py").write_text("from .runtime import thing\n")
    for name, source in files.items():
        (root / f"{name}.py").write_text(source)
    return root


LAWFUL = {
    "runtime/actor": "import anyio\nfrom . import ref\nfrom .ref import Ref\ndef f():\n    import trio\n",
    "runtime/ref": "from __future__ import annotations\nimport os.path\n",
    "engine/predict": "from ..runtime.actor import Actor\nfrom ..supervisors import Supervisor\nimport pydantic\n",
    "engine/lm/client": "from ..predict import x\nimport typing\nif typing.TYPE_CHECKING:\n    import openai\n",
    "legacy/worker/main": "import json\nfrom . import wire\ndef f():\n    import dspy\n",
    "legacy/worker/wire": "",
    "legacy/frames": "from .worker import wire\n",
    "router/arms": "from ..engine import x\nfrom ..legacy import y\n",
}


def test_a_lawful_house_has_no_violation(tmp_path: Path) -> None:
    assert violations(house(tmp_path, LAWFUL)) == []


@pytest.mark.parametrize(
    ("file", "source", "said"),
    [
        ("runtime/bad", "from ..supervisors import x", "runtime must not import supervisors"),
        ("runtime/bad", "from .. import x", "runtime must not import dspex"),
        ("supervisors/bad", "def f():\n    from ..engine import x", "bad.py:2: supervisors must not import engine"),
        ("engine/bad", "from ..legacy.pool import x", "engine must not import legacy"),
        ("legacy/bad", "from ..engine import x", "legacy must not import engine"),
        ("legacy/bad", "import typing\nif typing.TYPE_CHECKING:\n    from .. import engine", "must not import engine"),
        ("engine/bad", "import importlib\nimportlib.import_module('..router', __name__)", "must not import router"),
        ("engine/bad", "class A:\n    async def f(self):\n        from ..router import x", "must not import router"),
        ("router/bad", "from dspex.engine import x", "import dspex.engine is absolute"),
        ("router/bad", "from ..engine import x\nfrom ..nowhere import y", "must not import nowhere"),
        ("engine/bad", "from .nowhere import y", "there is no module 'engine.nowhere'"),
        ("engine/bad", "def f():\n    import openai", "openai must not be imported here"),
        ("engine/lm/bad", "import openai", "openai is imported on first use only"),
        ("engine/lm/bad", "class A:\n    import anthropic.types", "anthropic is imported on first use only"),
        ("engine/lm/bad", "def f():\n    import litellm", "litellm must not be imported here"),
        ("engine/lm/bad", "def f():\n    import dspy", "dspy must not be imported here"),
        ("legacy/bad", "def f():\n    __import__('dspy')", "dspy must not be imported here"),
        ("router/bad", "import dspy.signatures", "dspy must not be imported here"),
        ("runtime/bad", "import pydantic", "pydantic must not be imported here"),
        ("runtime/bad", "import trio", "trio is imported on first use only"),
        ("supervisors/bad", "def f():\n    import httpx", "httpx must not be imported here"),
        ("engine/bad", "def f():\n    import pandas", "pandas must not be imported here"),
        ("legacy/worker/bad", "from ..frames import x", "legacy/worker/ must not import legacy.frames"),
        ("legacy/worker/bad", "def f():\n    from ...runtime import x", "legacy/worker/ must not import runtime"),
        ("legacy/worker/bad", "import anyio", "anyio must not be imported here"),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, file: str, source: str, said: str) -> None:
    found = violations(house(tmp_path, {**LAWFUL, file: source}))
    assert len(found) >= 1
    assert any(said in line for line in found), found


@pytest.mark.parametrize(
    ("files", "circle"),
    [
        ({"engine/a": "from . import b", "engine/b": "from .a import x"}, "engine.a -> engine.b -> engine.a"),
        (
            {
                "engine/a": "from .b import x",
                "engine/b": "def f():\n    from . import c",
                "engine/c": "from .a import x",
            },
            "engine.a -> engine.b -> engine.c -> engine.a",
        ),
        (
            {
                "runtime/a": "import typing\nif typing.TYPE_CHECKING:\n    from .b import B",
                "runtime/b": "from .a import A",
            },
            "runtime.a -> runtime.b -> runtime.a",
        ),
        ({"engine/__init__": "from .a import x", "engine/a": "from . import y"}, "engine -> engine.a -> engine"),
        ({"engine/__init__": "from .lm import x", "engine/lm/__init__": "from .. import y"}, "engine -> engine.lm"),
    ],
)
def test_a_circle_is_found_wherever_it_hides(tmp_path: Path, files: dict[str, str], circle: str) -> None:
    files = {name: source + "\n" for name, source in files.items()}
    assert any(circle in line for line in violations(house(tmp_path, files)))


def test_a_new_room_must_be_given_a_floor_before_others_may_use_it(tmp_path: Path) -> None:
    root = house(tmp_path, {"engine/bad": "from ..attic import x"})
    (root / "attic").mkdir()
    (root / "attic" / "__init__.py").write_text("")
    assert violations(root) == ["engine/bad.py:1: engine must not import attic: imports point down"]


def late_imports(tree: ast.Module) -> list[ast.stmt]:
    """What a face says under TYPE_CHECKING: names that come in on first use, by the `__getattr__` that it imports."""
    return [
        statement
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not node.orelse
        for statement in node.body
    ]


@pytest.mark.parametrize("face", FACES)
def test_a_face_lists_exactly_what_it_offers(face: str) -> None:
    tree = ast.parse(MODULES[face].read_text())
    module = importlib.import_module(f"dspex.{face}" if face else "dspex")
    listed = list(getattr(module, "__all__", ()))
    assert len(listed) == len(set(listed))
    assert [name for name in listed if not hasattr(module, name)] == []
    offered = {
        alias.asname or alias.name
        for node in [*tree.body, *late_imports(tree)]
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert {name for name in offered if not name.startswith("_")} <= set(listed)


@pytest.mark.parametrize("face", [face for face in FACES if face])
def test_a_room_s_face_holds_no_logic(face: str) -> None:
    tree = ast.parse(MODULES[face].read_text())
    late = late_imports(tree)
    rest = [
        ast.unparse(node)
        for node in [*tree.body, *late]
        if not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.If) and late and node.body[0] in late)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
    ]
    assert rest == []


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_every_module_says_in_its_first_lines_what_idea_it_holds(name: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[name].read_text()))


HEAVY = ("anthropic", "dspy", "litellm", "numpy", "openai", "optuna")


@pytest.mark.parametrize("rooms", [(), ("runtime", "supervisors", "engine", "legacy", "router")])
def test_importing_the_package_loads_no_provider_and_no_dspy(rooms: tuple[str, ...], tmp_path: Path) -> None:
    statements = "; ".join(["import json, sys", "import dspex", *(f"import dspex.{room}" for room in rooms)])
    output = subprocess.run(
        [sys.executable, "-c", f"{statements}; print(json.dumps(sorted(sys.modules)))"],
        cwd=tmp_path,  # an empty folder: a neighbour of the tree must not be imported by its name
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    loaded = json.loads(output)
    assert "dspex.runtime" in loaded
    assert [name for name in loaded if name.partition(".")[0] in HEAVY] == []


def test_what_is_imported_eagerly_is_what_is_declared() -> None:
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {Requirement(line).name.replace("-", "_") for line in project["dependencies"]}
    eager = {
        found.target
        for name, file in MODULES.items()
        for found in imports_of(name, file, MODULES)
        if found.eager and not found.ours and found.target not in sys.stdlib_module_names
    }
    # trio is loaded by a module that only a running trio loop loads, orjson where it happens to be installed; pydantic
    # brings its core, pytest loads its own plugin. structlog is always there, and imported by whoever logs events;
    # hdrhistogram by whoever routes, rich by whoever is shown a table.
    late = {"structlog", "hdrhistogram", "jsonschema", "rich"}
    assert eager - {"trio", "orjson", "pydantic_core", "pytest"} | late == declared
