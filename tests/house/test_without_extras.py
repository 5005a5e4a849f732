"""With nothing but the base dependencies installed, everything native works, and each missing part is named once.

The environment is real: a bare venv that holds links to the base dependencies of this one, and nothing else.
"""

import os
import re
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
OPTIONAL = ("anthropic", "dspy", "litellm", "numpy", "openai", "orjson", "trio", "xllamacpp")


def needed(requirements: list[str], seen: dict[str, Distribution]) -> dict[str, Distribution]:
    """The distributions that these requirements bring, extras left aside."""
    for line in requirements:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name not in seen:
            try:
                seen[name] = distribution(name)
            except PackageNotFoundError:  # its marker holds on other machines only
                continue
            needed(seen[name].requires or [], seen)
    return seen


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    import tomllib

    home = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    site = next((home / "lib").glob("python3*")) / "site-packages"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for found in needed(list(project["dependencies"]), {}).values():
        for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            source = Path(str(found.locate_file(name)))
            if source.exists() and not (site / name).exists():
                (site / name).symlink_to(source)
    (site / "dspex").symlink_to(ROOT)
    return str(home / "bin" / "python")


def run(python: str, code: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [python, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_environment_is_as_bare_as_it_says(python: str) -> None:
    code = f"""
from importlib.util import find_spec
print([name for name in {OPTIONAL!r} if find_spec(name)])
"""
    assert run(python, code).strip() == "[]"


def test_a_native_program_runs_under_supervision(python: str) -> None:
    code = """
import anyio, dspex
from dspex.engine import DummyLM
async def main():
    program = dspex.ChainOfThought("question -> answer")
    lm = DummyLM([{"reasoning": "It is known.", "answer": "42"}])
    async with dspex.open_runtime() as rt:
        child = dspex.Child("qa", lambda: dspex.ProgramActor(program, lm=lm), name="qa")
        await rt.start(dspex.Supervisor([child]))
        prediction = await rt.ref("qa").call(dspex.ProgramActor.run, {"question": "6 * 7?"})
        print(prediction.answer)
anyio.run(main)
"""
    assert run(python, code).strip() == "42"


@pytest.mark.parametrize(
    ("model", "extra"), [("openai/gpt-4o-mini", "openai"), ("anthropic/claude-haiku-4-5", "anthropic")]
)
def test_a_provider_without_its_sdk_is_one_error_that_names_the_extra(python: str, model: str, extra: str) -> None:
    code = f"""
import anyio, dspex
from dspex.engine import MissingExtra
async def main():
    try:
        await dspex.LM({model!r}, api_key="k").acall("hello")
    except MissingExtra as error:
        print(error)
anyio.run(main)
"""
    assert f'"dspex[{extra}]"' in run(python, code)


def test_the_local_model_without_its_server_is_one_error_that_names_the_extra(python: str) -> None:
    code = """
import dspex
from dspex.engine import MissingExtra
try:
    dspex.local_model()
except MissingExtra as error:
    print(error)
"""
    assert '"dspex[local]"' in run(python, code)


def test_a_pool_without_dspy_is_one_error_that_names_the_extra_and_native_goes_on(python: str) -> None:
    code = """
import anyio, dspex
from dspex.engine import DummyLM
from dspex.legacy import MissingLegacy
pool = dspex.PoolOptions({"qa": dspex.SignatureProgram("question -> answer")}, workers=2)
async def main():
    lm = DummyLM([{"answer": "42"}])
    flags = dspex.FlagStore(dspex.Flags(use_native_predictors=False))
    async with dspex.open_runtime() as rt:
        await rt.start(dspex.Supervisor([
            dspex.Child("qa", lambda: dspex.ProgramActor(dspex.Predict("question -> answer"), lm=lm), name="qa"),
            dspex.legacy_pool_spec(pool, name="legacy"),
            *dspex.router_children([dspex.RoutedProgram("qa", native="qa", legacy="legacy.pool")], flags),
        ]))
        ask = lambda: rt.ref("router").within(30).call(dspex.Router.run, "qa", {"question": "6 * 7?"})
        for _ in range(2):
            try:
                await ask()
            except MissingLegacy as error:
                print(error)
        flags.set(use_native_predictors=True)
        print((await ask())["answer"])
        print({child.state for child in dspex.tree(rt).children[0].children})
anyio.run(main)
"""
    lines = run(python, code).splitlines()
    assert all('"dspex[legacy]"' in line for line in lines[:2]), lines
    assert lines[2] == "42"
    assert lines[3] == "{'running'}"
