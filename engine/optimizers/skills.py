"""Skills: reference material for the model that reflects, out of files, folders with a `SKILL.md`, or text.

As dspy 3.4 finds them. A text that does not name an existing file but looks like a path is refused rather than taken for the
skill itself; a leading block of YAML between `---` lines gives the name and the description, and needs PyYAML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..lm.extras import MissingExtra

__all__ = ["Skill", "load_skill", "render_skill"]

_SKILL_FILE = "SKILL.md"
_SUFFIXES = (".md", ".markdown", ".txt")
_PATH_START = re.compile(r"^(?:\.{1,2}[\\/]|~[\\/]|[\\/]|[A-Za-z]:[\\/])")
_NAME_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Skill:
    """One piece of reference material."""

    name: str
    content: str
    description: str | None = None


def load_skill(source: str | Path) -> Skill:
    """The skill that `source` is or names.

    A `Path` is a path. A str is a path if it exists; else it is the content itself, unless it looks like a path: one line
    without spaces that has a separator, begins with `.` or `~` or ends like a text file, or one with spaces that begins like
    a path or lies in a folder that exists.

    Raises:
        FileNotFoundError: the file is not there, or the folder has no SKILL.md.
        TypeError: `source` is neither a str nor a Path.
        ValueError: there is no content, or the YAML at its head cannot be read.
        MissingExtra: it has YAML at its head, and PyYAML is not installed.
    """
    if isinstance(source, Path):
        return _from_path(source.expanduser())
    if not isinstance(cast("object", source), str):
        raise TypeError(f"A skill must be a str or a Path, not {type(source).__name__}.")
    if not source.strip():
        raise ValueError("Empty skill content.")
    path = _existing(source)
    if path is not None:
        return _from_path(path)
    if _looks_like_path(source):
        raise FileNotFoundError(
            f"Skill {source!r} looks like a path, but no such file or directory exists. "
            "Pass the path to an existing skill file or directory. Inline skill content that "
            "resembles a path must span more than one line."
        )
    return _from_text(source, None)


def render_skill(skill: Skill) -> str:
    """The skill as it stands in the prompt."""
    described = f" description={skill.description!r}" if skill.description else ""
    return f"<skill name={skill.name!r}{described}>\n{skill.content.strip()}\n</skill>"


def _from_path(path: Path) -> Skill:
    if not path.exists():
        raise FileNotFoundError(f"Skill path {path} does not exist.")
    if not path.is_dir():
        return _from_text(path.read_text(encoding="utf-8"), path.stem)
    file = path / _SKILL_FILE
    if not file.exists():
        raise FileNotFoundError(f"Skill directory {path} has no {_SKILL_FILE}.")
    return _from_text(file.read_text(encoding="utf-8"), path.name)


def _from_text(text: str, name: str | None) -> Skill:
    text = text.strip()
    if not text:
        raise ValueError("Empty skill content.")
    head, content = _split_head(text)
    content = content.strip()
    if not content:
        raise ValueError("Empty skill content after removing frontmatter.")
    if name is None:
        first = content.splitlines()[0].lstrip("# ").strip()
        name = (first if len(first) <= _NAME_LENGTH else first[:_NAME_LENGTH] + "…") or "inline-skill"
    return Skill(name=head.get("name") or name, content=content, description=head.get("description"))


def _existing(source: str) -> Path | None:
    try:
        path = Path(source).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # a text that is too long to be a path, or holds what no path can
        return None


def _looks_like_path(source: str) -> bool:
    if "\n" in source or "\r" in source:
        return False
    source = source.strip()
    separated = "/" in source or "\\" in source
    if not re.search(r"\s", source):
        return separated or source.startswith((".", "~")) or source.lower().endswith(_SUFFIXES)
    if _PATH_START.match(source):
        return True
    return separated and _existing(str(Path(source).parent)) is not None


def _split_head(text: str) -> tuple[dict[str, str], str]:
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---":
        return {}, text
    for end, line in enumerate(lines[1:], start=1):
        if line.rstrip() == "---":
            return _head("\n".join(lines[1:end]) + "\n"), "\n".join(lines[end + 1 :])
    raise ValueError("Skill frontmatter is missing its closing '---'.")


def _head(text: str) -> dict[str, str]:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra("yaml", module="yaml", purpose="a skill that begins with YAML") from error
    try:
        read: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError("Invalid YAML skill frontmatter.") from error
    if read is None:
        read = {}
    if not isinstance(read, dict):
        raise ValueError("Skill frontmatter must be a YAML mapping.")
    found: dict[str, str] = {}
    for key in ("name", "description"):
        value: Any = cast("dict[str, Any]", read).get(key, "")
        if not isinstance(value, str):
            raise ValueError(f"Skill frontmatter {key!r} must be a string.")
        if key in read:
            found[key] = value
    return found
