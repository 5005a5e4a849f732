"""A hook of mkdocs: the pages that are made of other files, and the links to them.

`performance.md` is benchmarks/RESULTS.md, `examples.md` the programs in examples/. Links that lead out of docs/, where they
work in the repository, lead to these; those to a file of the source are its name only. The reference is read from a folder in
which the package has its name: the repository root is the package, whatever the folder it was cloned into is called.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"\[([^\[\]]*)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def on_startup(**_: Any) -> None:
    """Give the package its name, for the reference: a folder of links to the rooms, and to nothing else of the repository.

    Before any plugin is told of the configuration: mkdocstrings passes over a folder that is not there yet, and would find
    the package where it is installed in place, and with it the whole repository, environments included.
    """
    package = ROOT / "build" / "site-source" / "dspex"
    if package.is_symlink():
        package.unlink()
    package.mkdir(parents=True, exist_ok=True)
    inside = [ROOT / "__init__.py", *(face.parent for face in ROOT.glob("*/__init__.py") if face.parent.name != "tests")]
    for stale in {link.name for link in package.iterdir()} - {part.name for part in inside}:
        (package / stale).unlink()
    for part in inside:
        link = package / part.name
        if not link.is_symlink():
            link.symlink_to(part)


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages that are made here."""
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "performance.md", content=results))
    files.append(File.generated(config, "examples.md", content=_examples()))
    return files


def _examples() -> str:
    parts = [
        "# Examples",
        "Each is run by the tests: `python examples/NAME.py`. Those that ask a model take `--model openai/gpt-4o-mini`, "
        "and use a small one on this computer if none is named.",
    ]
    for file in sorted((ROOT / "examples").glob("*.py")):
        source = file.read_text(encoding="utf-8")
        about = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
        parts += [f"## {file.name}", about, f"```py\n{source}```"]
    return "\n\n".join(parts) + "\n"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Lead such links to the page that shows what they name."""
    here = posixpath.dirname(page.file.src_uri)

    def led(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", here, link[2]))
        if target.startswith("docs/"):
            return link[0]
        up = posixpath.relpath(".", here or ".")
        if target.startswith("examples/"):
            anchor = posixpath.basename(target).replace(".", "").lower()
            return f"[{link[1]}]({posixpath.normpath(posixpath.join(up, 'examples.md'))}#{anchor})"
        if target == "benchmarks/RESULTS.md":
            return f"[{link[1]}]({posixpath.normpath(posixpath.join(up, 'performance.md'))}{link[3] or ''})"
        if target.endswith(".py") and (ROOT / target).is_file():
            return link[1]  # a file of the source is named, and to be seen in the repository only
        raise ValueError(f"{page.file.src_uri}: the site has no page for {target}")

    return _LINK.sub(led, markdown)
