"""What is shipped is what is in the tree: packages, wheel, licence, pins."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from import_rules import package_modules
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def test_the_packages_listed_are_the_packages_of_the_tree() -> None:
    modules = package_modules(ROOT)
    folders = {file.parent.relative_to(ROOT) for file in modules.values()}
    assert sorted(PYPROJECT["tool"]["setuptools"]["packages"]) == sorted(
        ".".join(("dspex", *folder.parts)) for folder in folders
    )
    assert all((ROOT / folder / "__init__.py").exists() for folder in folders)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist, and the wheel made from it; built from a copy of the tree, so that nothing is left in the tree."""
    copy = tmp_path_factory.mktemp("tree") / "dspex"
    leave = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, copy, ignore=leave)
    built = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", str(copy)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return copy / "dist"


def test_the_wheel_holds_every_module_and_nothing_else(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {f"dspex/{file.relative_to(ROOT).as_posix()}" for file in package_modules(ROOT).values()}
    assert shipped == modules | {"dspex/py.typed"}


def test_the_wheel_carries_licence_readme_and_metadata(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        info = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = archive.read(info).decode()
        licence = archive.read(info.replace("METADATA", "licenses/LICENSE")).decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert f"Version: {PROJECT['version']}" in metadata
    assert "Apache License" in licence
    headers, _, readme = metadata.partition("\n\n")
    assert len(readme) > 200
    extras = set(re.findall(r"^Provides-Extra: (.+)$", headers, re.MULTILINE))
    assert {"openai", "anthropic", "legacy", "local", "trio", "all", "dev"} <= extras


def test_the_sdist_can_be_built_from(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "runtime/actor.py"} <= names


PINS = {
    canonicalize_name(name): version
    for name, _, version in (
        line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
}


def test_constraints_are_pins_without_addresses() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines == sorted(lines, key=str.lower)
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []


def test_every_requirement_is_pinned_to_a_version_that_it_allows() -> None:
    lines = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    requirements = [Requirement(line) for line in lines if not line.startswith("dspex[")]
    assert requirements
    for requirement in requirements:
        pin = PINS.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} has no pin in constraints.txt"
        assert requirement.specifier.contains(pin), f"{requirement} does not allow the pinned {pin}"


def test_the_extra_all_is_all_the_others_but_dev() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = (Requirement(line) for line in extras["all"])
    assert everything.extras == set(extras) - {"all", "dev"}


def test_the_makefile_installs_extras_that_there_are_and_all_of_them_for_the_tests() -> None:
    makefile = (ROOT / "Makefile").read_text()
    listed = re.search(r"^RUN_EXTRAS = (.+)$", makefile, re.MULTILINE)
    assert listed is not None
    assert set(listed[1].split(",")) < set(PROJECT["optional-dependencies"]) - {"all", "dev"}
    assert re.search(r"^\$\(VENV\)/\.installed-dev: EXTRAS = all,dev$", makefile, re.MULTILINE)


def test_the_version_that_the_package_says_is_the_version_it_is_built_as() -> None:
    import tomllib

    import dspex

    assert dspex.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
